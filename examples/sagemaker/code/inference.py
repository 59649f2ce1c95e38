"""A model as SageMaker's containers load it: its files lie in `model_dir`, this one in `code/`."""

import json
from pathlib import Path


def model_fn(model_dir):
    """Read the model: once, in the template from which workers are forked."""
    return json.loads(Path(model_dir, "weights.json").read_text())


def input_fn(body, content_type):
    """Rows of numbers, from JSON or CSV, which come as text."""
    if content_type.startswith("text/csv"):
        return [[float(value) for value in line.split(",")] for line in body.splitlines()]
    return json.loads(body)


def predict_fn(rows, weights):
    """One number for each row."""
    return [
        weights["bias"] + sum(weight * value for weight, value in zip(weights["weights"], row, strict=True))
        for row in rows
    ]


def output_fn(prediction, accept):
    """As what the caller accepts."""
    if accept == "text/csv":
        return "\n".join(str(value) for value in prediction), accept
    return json.dumps(prediction), "application/json"
