"""ONNX models through ONNX Runtime, set up so that a loaded session may be forked: one thread, no arena."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import onnxruntime

from lambent.runtimes.adapters.agreement import difference
from lambent.runtimes.adapters.files import derived
from lambent.runtimes.adapters.predictor import Array, BadModel, Predictor, TensorSpec
from lambent.wire.oneshot import Serving

NAME: Final = "onnx"
PROVIDERS: Final = ("CPUExecutionProvider",)
ERRORS_ONLY: Final = 3
DTYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "tensor(bool)": "bool",
        "tensor(double)": "float64",
        "tensor(float)": "float32",
        "tensor(float16)": "float16",
        "tensor(string)": "object",
        **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    }
)


# Tensors from this size on go to a file, each at a page's first byte, and with them the form into which the
# processor's kernels pack them: a session then maps both and keeps neither on its heap. The packed form has
# the hash of its bytes beside it; where another processor's kernels pack in another way, they do so anew at
# each load (docs/decisions/0011).
MAPPED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "optimized_model_external_initializers_min_size_in_bytes": str(64 << 10),
        "save_external_prepacked_constant_initializers": "1",
    }
)
# The smallest model there is, `y = relu(x)`, as the file that `onnx.helper` makes of it.
RELU: Final = (
    b'\x08\x07\x12\x00:5\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x01gZ\x10\n\x01x\x12\x0b\n\t\x08\x01\x12\x05\n'
    b"\x03\x12\x01nb\x10\n\x01y\x12\x0b\n\t\x08\x01\x12\x05\n\x03\x12\x01nB\x04\n\x00\x10\r"
)


def warm_up() -> None:
    """Let ONNX Runtime fill its registries, once for all forks.

    Its first session costs 30 ms and 2 MiB more than each later one: most of a small model's load.
    """
    session = onnxruntime.InferenceSession(RELU, _options(), providers=[*PROVIDERS])
    session.run(None, {"x": np.zeros(1, np.float32)})


def open_file(path: Path) -> Predictor:
    """The model in `path`. Raises `BadModel` where ONNX Runtime cannot read it."""
    return _predictor(_session(path, _options()), path.name)


def prepare(folder: Path, file: str) -> Serving:
    """Check that the model loads, and keep an optimised copy where that gives the same outputs.

    Optimising is most of what opening a model costs, so it is done here, once. Raises `BadModel`.
    """
    given = open_file(folder / file)
    copy = derived(folder, file, ".optimised.onnx")
    try:
        optimise(folder / file, copy)
        twin = open_file(copy)
        worst = difference(given, twin)
    except ValueError as error:
        remove(copy)
        reason = f"served as it is: there is no optimised copy, because {error}"
        return Serving(
            adapter=NAME,
            file=file,
            served_by=NAME,
            served_file=file,
            reason=reason,
            signature=given.signature,
        )
    return Serving(
        adapter=NAME,
        file=file,
        served_by=NAME,
        served_file=copy.relative_to(folder).as_posix(),
        max_abs_difference=worst,
        mapped_bytes=mapped_bytes(copy),
        signature=twin.signature,
    )


def optimise(path: Path, copy: Path) -> None:
    """Write an optimised `copy` of a model, and beside it the weights that loading it will map.

    Raises `BadModel`.
    """
    remove(copy)
    options = _options()
    # Beyond "extended" the graph is laid out for this very processor, and an artifact may move.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(copy)
    for name, value in MAPPED.items():
        options.add_session_config_entry(f"session.{name}", value)
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", _weights(copy).name
    )
    _session(path, options)
    if not copy.exists():
        raise BadModel(f"ONNX Runtime wrote none for {path.name}")


def mapped_bytes(copy: Path) -> int:
    """How much of what `optimise` wrote will be mapped."""
    weights = _weights(copy)
    return weights.stat().st_size if weights.exists() else 0


def remove(copy: Path) -> None:
    """Remove what `optimise` wrote. Harmless where there is nothing."""
    copy.unlink(missing_ok=True)
    _weights(copy).unlink(missing_ok=True)


def _weights(copy: Path) -> Path:
    return copy.with_name(f"{copy.name}.weights")


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    # Threads do not survive a fork, and an arena keeps what one large call needed.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = ERRORS_ONLY
    return options


def _session(path: Path, options: Any) -> Any:
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[*PROVIDERS])
    except Exception as error:  # ONNX Runtime has a dozen classes of errors, with no common one
        raise BadModel(f"{path.name} cannot be read as an ONNX model: {error}") from error


def _predictor(session: Any, name: str) -> Predictor:
    specs = [_spec(argument, name) for argument in session.get_inputs()]
    outputs = [argument.name for argument in session.get_outputs()]
    gives = [
        TensorSpec(one.name, DTYPES[one.type], _shape(one))
        for one in session.get_outputs()
        if one.type in DTYPES  # a sequence of maps, say, is no tensor
    ]
    names = [spec.name for spec in specs]

    def run(arrays: Sequence[Array]) -> Sequence[Array]:
        found: Sequence[Array] = session.run(None, dict(zip(names, arrays, strict=True)))
        return found

    return Predictor(
        run,
        inputs=specs,
        outputs=outputs,
        forkable_after_run=True,
        gives=gives if len(gives) == len(outputs) else (),
    )


def _spec(argument: Any, name: str) -> TensorSpec:
    dtype = DTYPES.get(argument.type)
    if dtype is None:
        raise BadModel(
            f"{name} takes {argument.type} as {argument.name!r}, which is no tensor that can be given"
        )
    return TensorSpec(argument.name, dtype, _shape(argument))


def _shape(argument: Any) -> tuple[int | None, ...] | None:
    """A name instead of a size is a free dimension. An unknown rank looks like a scalar: it is any shape."""
    return tuple(size if isinstance(size, int) else None for size in argument.shape) or None
