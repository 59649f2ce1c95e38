"""Keras models: served through an ONNX twin, and by Keras itself only where no twin can be made.

A TensorFlow that has run something has threads, and a fork of it hangs at its first `predict` (seen). The
twin is made when a model is prepared, compared with Keras on random inputs, and runs in ONNX Runtime, which
forks.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

from lambent.runtimes.adapters import onnx
from lambent.runtimes.adapters.agreement import difference, free_size
from lambent.runtimes.adapters.files import derived
from lambent.runtimes.adapters.predictor import Array, BadModel, Predictor, TensorSpec
from lambent.wire.oneshot import Serving

NAME: Final = "keras"


def warm_up() -> None:
    """Nothing: a TensorFlow that has run something has threads, and must not be forked."""


def open_file(path: Path) -> Predictor:
    """The model in `path`, run by Keras. Raises `BadModel` where it cannot be read."""
    return _predictor(_read(path))


def prepare(folder: Path, file: str) -> Serving:
    """Make the twin, compare it, and say which of the two serves. Raises `BadModel`."""
    model = _read(folder / file)
    given = _predictor(model)
    exported, twin = derived(folder, file, ".exported.onnx"), derived(folder, file, ".onnx")
    try:
        free_size(given)  # a model that was never called cannot be exported
        _export(model, exported)
        _without_erfc(exported)
        onnx.optimise(exported, twin)
        served = onnx.open_file(twin)
        worst = difference(given, served)
    except ValueError as error:
        onnx.remove(twin)
        reason = f"served by Keras itself, and cannot be primed: its ONNX twin is not used, because {error}"
        return Serving(
            adapter=NAME,
            file=file,
            served_by=NAME,
            served_file=file,
            reason=reason,
            signature=given.signature,
        )
    finally:
        exported.unlink(missing_ok=True)
    return Serving(
        adapter=NAME,
        file=file,
        served_by=onnx.NAME,
        served_file=twin.relative_to(folder).as_posix(),
        max_abs_difference=worst,
        signature=served.signature,
        mapped_bytes=onnx.mapped_bytes(twin),
    )


def _read(path: Path) -> Any:
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # a damaged archive, an unknown layer, a newer format: each raises its own
        raise BadModel(f"{path.name} cannot be read as a Keras model: {error}") from error


def _export(model: Any, twin: Path) -> None:
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()):
            model.export(twin, format="onnx", verbose=False)
    except Exception as error:  # the converter fails in as many ways as there are layers
        text = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"Keras cannot export it: {text}") from error
    finally:
        logger.setLevel(level)


def _without_erfc(path: Path) -> None:
    """Say `1 - Erf(x)` where the converter says `Erfc(x)`, as in every exact GELU.

    It takes TensorFlow's name over as it is, and ONNX has no such operator.
    """
    if b"Erfc" not in path.read_bytes():
        return
    from onnx import helper, load, save

    model = load(path)
    said: list[Any] = []
    for node in model.graph.node:
        if node.op_type != "Erfc":
            said.append(node)
            continue
        (x,), (y,) = node.input, node.output
        one = helper.make_node("Constant", [], [f"{y}/one"], value_float=1.0)
        # Of the type that x has, whatever that is.
        cast = helper.make_node("CastLike", [f"{y}/one", x], [f"{y}/like"])
        erf = helper.make_node("Erf", [x], [f"{y}/erf"])
        said += [one, cast, erf, helper.make_node("Sub", [f"{y}/like", f"{y}/erf"], [y])]
    del model.graph.node[:]
    model.graph.node.extend(said)
    save(model, path)


def _predictor(model: Any) -> Predictor:
    if not model.inputs:
        raise BadModel(f"the model {model.name!r} was saved before it was built: its inputs are not known")
    inputs = [TensorSpec(each.name, _dtype(each.dtype), tuple(each.shape)) for each in model.inputs]
    gives = [TensorSpec(each.name, _dtype(each.dtype), tuple(each.shape)) for each in model.outputs]

    def run(arrays: Sequence[Array]) -> Sequence[Array]:
        # Calling the model is eager: `predict` would build a graph and start threads for one batch.
        found = model(keras.tree.pack_sequence_as(_structure(model), list(arrays)), training=False)
        tensors = keras.tree.flatten(found)
        return [np.asarray(keras.ops.convert_to_numpy(tensor)) for tensor in tensors]

    return Predictor(run, inputs=inputs, outputs=[spec.name for spec in gives], gives=gives)


def _structure(model: Any) -> Any:
    """How the model takes its inputs: alone, in a list, by name. A new `Sequential` does not know yet."""
    return getattr(model, "input", model.inputs[0] if len(model.inputs) == 1 else list(model.inputs))


def _dtype(dtype: Any) -> str:
    return "object" if str(dtype) == "string" else str(dtype)
