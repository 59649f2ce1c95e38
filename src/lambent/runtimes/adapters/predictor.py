"""A model as a function of arrays, and the checks that turn a wrong array into a clear error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from lambent.core.tensors import BYTES, UNKNOWN, Signature, Tensor
from lambent.runtimes.tensors.arrays import DATATYPES

Array = NDArray[Any]
Outputs = Array | dict[str, Array]


class BadModel(ValueError):
    """A model file cannot be served: it is damaged, of an unknown kind, or not the only one."""


class TensorSpec(msgspec.Struct, frozen=True):
    """One input. In `shape`, `None` is any size, as of the batch; a `shape` that is `None` is any shape."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def least_shape(self) -> tuple[int, ...] | None:
        """The smallest batch, where the shape tells it."""
        if not self.shape or None in self.shape[1:] or self.dtype == "object":
            return None
        first, *rest = self.shape
        return (1 if first is None else first, *(size for size in rest if size is not None))

    def __str__(self) -> str:
        if self.shape is None:
            return f"any shape of {self.dtype}"
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"shape ({sizes}) of {self.dtype}"


class Predictor:
    """A loaded model: arrays in, arrays out.

    Called with one array (or nested lists), or with a mapping from input name to array. Values are
    converted to the model's own type where that loses nothing. Where the first dimension is the batch, a
    single instance may come without it; the answer has it. Returns the only output as an array, several as
    a dict by name. Raises `ValueError` that names the shape and type expected.

    `before` makes of what is given what the model takes. `forkable_after_run` says that a process which has
    run it may still be forked. `gives` is what is known of the outputs, if it is known of all.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Array]], Sequence[Array]],
        *,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[str],
        forkable_after_run: bool = False,
        gives: Sequence[TensorSpec] = (),
        before: Callable[[object], object] | None = None,
    ) -> None:
        self._run: Final = run
        self._before: Final = before
        self.inputs: Final = tuple(inputs)
        self.outputs: Final = tuple(outputs)
        self._forkable_after_run: Final = forkable_after_run
        self._gives: Final = tuple(gives)

    @property
    def signature(self) -> Signature:
        """What it takes and gives, as far as that is known."""
        if self._before is not None:
            return UNKNOWN
        return Signature(_told(self.inputs), _told(self._gives))

    def __call__(self, inputs: object) -> Outputs:
        """Run the model."""
        return self.run(self.arrays(inputs))

    def arrays(self, inputs: object) -> list[Array]:
        """The arrays that a value stands for, in the order of the model's inputs. Raises `ValueError`."""
        values = self._by_position(inputs if self._before is None else self._before(inputs))
        return [fitted(value, spec) for value, spec in zip(values, self.inputs, strict=True)]

    def run(self, arrays: Sequence[Array]) -> Outputs:
        """Run the model on what `arrays` returned."""
        outputs = self._run(arrays)
        return outputs[0] if len(outputs) == 1 else dict(zip(self.outputs, outputs, strict=True))

    def zeros(self) -> dict[str, Array] | None:
        """The least that may be given in a template: None where it is not known, or a fork would mind."""
        shapes = {spec: spec.least_shape for spec in self.inputs}
        if not self._forkable_after_run or self._before is not None or None in shapes.values():
            return None
        return {spec.name: np.zeros(shape or (), spec.dtype) for spec, shape in shapes.items()}

    def behind(self, before: Callable[[object], object]) -> Predictor:
        """The same model, given what `before` makes of its inputs. What that takes, nobody knows here."""
        return Predictor(
            self._run,
            inputs=self.inputs,
            outputs=self.outputs,
            forkable_after_run=self._forkable_after_run,
            gives=self._gives,
            before=before,
        )

    def _by_position(self, inputs: object) -> Sequence[object]:
        names = [spec.name for spec in self.inputs]
        if not isinstance(inputs, Mapping):
            if len(names) == 1:
                return [inputs]
            raise ValueError(f"the model has {len(names)} inputs: give a mapping with {', '.join(names)}")
        if {*inputs} != {*names}:
            raise ValueError(f"the model's inputs are {', '.join(names)}; got {', '.join(map(str, inputs))}")
        return [inputs[name] for name in names]


def _told(specs: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
    """All of them, or nothing."""
    names = {**DATATYPES, "object": BYTES}
    if any(spec.shape is None or spec.dtype not in names for spec in specs):
        return ()
    return tuple(
        Tensor(spec.name, names[spec.dtype], tuple(-1 if size is None else size for size in spec.shape or ()))
        for spec in specs
    )


def fitted(value: object, spec: TensorSpec) -> Array:
    """`value` as the array that `spec` asks for. Raises `ValueError`."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"input {spec.name!r} is not a regular array; expected {spec}") from error
    if spec.shape is not None and array.ndim == len(spec.shape) - 1 and spec.shape[0] in {None, 1}:
        array = array[np.newaxis]
    if spec.shape is not None and not _fits(array.shape, spec.shape):
        raise ValueError(f"input {spec.name!r} has shape {array.shape}; expected {spec}")
    return _converted(array, spec)


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(b is None or a == b for a, b in zip(shape, wanted, strict=True))


def _converted(array: Array, spec: TensorSpec) -> Array:
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "O" and array.dtype.kind == "O":
        return _as_texts(array)
    if array.dtype == dtype:
        return array
    numbers = array.dtype.kind in "biuf"
    if dtype.kind == "O" and array.dtype.kind == "U":
        return array.astype(object)
    if numbers and dtype.kind in "fc":
        return array.astype(dtype)
    if numbers and dtype.kind in "biu":
        with np.errstate(invalid="ignore"):
            converted = array.astype(dtype)
        if np.array_equal(converted, array):
            return converted
    raise ValueError(f"input {spec.name!r} has values of {array.dtype} that do not fit; expected {spec}")


def _as_texts(array: Array) -> Array:
    """Frameworks take text for text. Raises `ValueError` where it is none."""
    found = np.empty(array.size, object)
    found[:] = [one.decode() if isinstance(one, bytes) else one for one in array.reshape(-1)]
    return found.reshape(array.shape)
