"""Real models for the benchmarks: digits, trained here, and any number of small different ones.

`python -m benchmarks.models FOLDER` trains digits for one epoch in a process of its own: the benchmark itself
never imports TensorFlow.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

MNIST: Final = Path(__file__).parent.parent / "examples" / "digits" / "data" / "mnist.npz"
TRAINING_S: Final = 180.0
HIDDEN: Final = 128
# What a fork-safe process needs: TensorFlow starts its threads by these, and a fork does not copy threads.
ONE_THREAD: Final[Mapping[str, str]] = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}


class Digits(msgspec.Struct, frozen=True):
    """Files of the digits model; `keras` is None where Keras is not installed, `picture` is JSON."""

    onnx: Path
    keras: Path | None
    picture: Path

    @property
    def artifacts(self) -> Mapping[str, Path]:
        """The model in each form that there is, by framework."""
        return {"onnx": self.onnx} | ({"keras": self.keras} if self.keras else {})


def environ() -> dict[str, str]:
    """The environment of a process that runs TensorFlow or ONNX Runtime, with their chatter off."""
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}


def digits(folder: Path) -> Digits:
    """The digits model in Keras, its ONNX form as Keras exports it, and one real picture."""
    shown = picture(folder)
    if importlib.util.find_spec("keras") is None or importlib.util.find_spec("tensorflow") is None:
        return Digits(small(folder, 1)[0], None, shown)
    training = [sys.executable, "-m", "benchmarks.models", str(folder)]
    done = subprocess.run(
        training, env=environ(), timeout=TRAINING_S, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the digits model could not be trained:\n{done.stderr[-2000:]}")
    return Digits(folder / "digits.onnx", folder / "digits.keras", shown)


def picture(folder: Path) -> Path:
    """A held-out digit as a model without code takes it: a list of one 28 × 28 picture, in JSON."""
    import numpy as np

    with np.load(MNIST) as data:
        pixels = np.round(data["x_test"][:1].astype("f4") / 255.0, 3)
    path = folder / "picture.json"
    path.write_text(
        json.dumps([[[round(float(pixel), 3) for pixel in row] for row in image] for image in pixels])
    )
    return path


def small(folder: Path, count: int) -> Sequence[Path]:
    """So many ONNX models of the shape and size of digits, about 400 KB, all different."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def one(number: int) -> Path:
        random = np.random.default_rng(number)
        hidden = HIDDEN + number
        shapes = {"w1": (784, hidden), "b1": (hidden,), "w2": (hidden, 10), "b2": (10,)}
        weights = [
            numpy_helper.from_array((random.standard_normal(shape) * 0.05).astype("f4"), name)
            for name, shape in shapes.items()
        ]
        nodes = [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w1", "b1"], ["z1"]),
            helper.make_node("Relu", ["z1"], ["a1"]),
            helper.make_node("Gemm", ["a1", "w2", "b2"], ["z2"]),
            helper.make_node("Softmax", ["z2"], ["y"]),
        ]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 28, 28])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])
        graph = helper.make_graph(nodes, f"small-{number}", [x], [y], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        path = folder / f"small-{number:02}.onnx"
        onnx.save(model, path)
        return path

    return [one(number) for number in range(count)]


def _train(folder: Path) -> None:
    import keras
    import numpy as np

    keras.utils.set_random_seed(1)
    with np.load(MNIST) as data:
        x, y = data["x_train"].astype("f4") / 255.0, data["y_train"]
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Flatten(),
            layers.Dense(HIDDEN, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    network.fit(x, y, epochs=1, batch_size=64, verbose=0)
    network.save(folder / "digits.keras")
    network.export(folder / "digits.onnx", format="onnx", verbose=False)


if __name__ == "__main__":
    _train(Path(sys.argv[1]))
