"""The functions of a SageMaker model: the user's where there are some, the toolkit's defaults elsewhere.

After sagemaker-inference 1.10 (`transformer`, `default_inference_handler`). Each may take one more parameter
than it is given, the context; which it is, is told by their number.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from lambent.runtimes.faults import Fault
from lambent.runtimes.sagemaker import formats
from lambent.runtimes.sagemaker.context import Context

Function = Callable[..., Any]

STEPS: Final = ("input_fn", "predict_fn", "output_fn")
MISSING: Final = (
    "Please provide a {0} implementation.\n"
    "See documentation for {0} at https://sagemaker.readthedocs.io/en/stable/"
)


class Asked(msgspec.Struct, frozen=True):
    """A request as the functions see it."""

    body: str | bytes
    content_type: str
    accept: str
    context: Context


class Functions(msgspec.Struct, frozen=True):
    """What is called for a load and for a request. No `transform_fn`: the three steps."""

    pre_model_fn: Function | None
    model_fn: Function
    model_warmup_fn: Function | None
    input_fn: Function
    predict_fn: Function
    output_fn: Function
    transform_fn: Function | None

    @classmethod
    def of(cls, module: ModuleType) -> Functions:
        """Those of `inference.py`. Raises `Fault` where they cannot go together."""
        found = {name: getattr(module, name, None) for name in cls.__struct_fields__}
        if found["transform_fn"] and any(found[name] for name in STEPS):
            raise Fault(
                "ValueError",
                "Cannot use transform_fn implementation in conjunction with "
                "input_fn, predict_fn, and/or output_fn implementation",
            )
        return cls(
            pre_model_fn=found["pre_model_fn"],
            model_fn=found["model_fn"] or _open,
            model_warmup_fn=found["model_warmup_fn"],
            input_fn=found["input_fn"] or formats.decode,
            predict_fn=found["predict_fn"] or _predict,
            output_fn=found["output_fn"] or formats.encode,
            transform_fn=found["transform_fn"],
        )

    def load(self, model_dir: str, context: Context) -> Any:
        """The model. Raises what user code raises."""
        if self.pre_model_fn is not None:
            called(self.pre_model_fn, context, model_dir)
        model = called(self.model_fn, context, model_dir)
        if self.model_warmup_fn is not None:
            called(self.model_warmup_fn, context, model_dir, model)
        return model

    def answer(self, model: Any, asked: Asked) -> Any:
        """What a request comes to: the answer's body, or that and its type. Raises what user code raises."""
        context = asked.context
        if self.transform_fn is not None:
            return called(self.transform_fn, context, model, asked.body, asked.content_type, asked.accept)
        inputs = called(self.input_fn, context, asked.body, asked.content_type)
        prediction = called(self.predict_fn, context, inputs, model)
        return called(self.output_fn, context, prediction, asked.accept)


def called(function: Function, context: Context, *arguments: Any) -> Any:
    """What a function returns; it gets the context where it has a parameter more. Raises `TypeError`."""
    taken = len(inspect.signature(function).parameters)
    if taken == len(arguments):
        return function(*arguments)
    if taken == len(arguments) + 1:
        return function(*arguments, context)
    name = getattr(function, "__name__", repr(function))
    raise TypeError(f"{name} takes {taken} arguments but {len(arguments)} were given.")


def _open(model_dir: str) -> Any:
    """Without a model_fn, the one model file that is there, where its format needs no code."""
    from lambent.runtimes.adapters.files import open_model
    from lambent.runtimes.adapters.predictor import BadModel

    try:
        return open_model(Path(model_dir))
    except BadModel as error:
        raise Fault("NotImplementedError", f"{MISSING.format('model_fn')}\n({error})") from error


def _predict(inputs: Any, model: Any) -> Any:
    """Without a predict_fn, what every framework's container does: `predict`, or the model itself."""
    predict = getattr(model, "predict", None)
    if callable(predict):
        return predict(inputs)
    if callable(model):
        return model(inputs)
    raise Fault("NotImplementedError", MISSING.format("predict_fn"))
