"""Tensors as they are told of: datatypes, shapes, and what a model takes and gives. No numbers are here.

Datatypes are those of the Open Inference Protocol, version 2 ("Tensor Data Types").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Final

import msgspec

from lambent.core.errors import CallerFault, InvalidSpec

BYTES: Final = "BYTES"
# How many bytes one element takes. BYTES are of any length, each behind its own in four bytes.
ELEMENT_BYTES: Final[Mapping[str, int]] = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8,
    "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
    "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8, BYTES: 0,
}  # fmt: skip
LENGTH_BYTES: Final = 4  # before each of BYTES
DIMENSIONS_MAX: Final = 32
ELEMENTS_MAX: Final = 1 << 40
SHOWN_CHARACTERS_MAX: Final = 80
ANY_SIZE: Final = -1


class Tensor(msgspec.Struct, frozen=True):
    """What a model takes or gives under a name. In `shape`, -1 (or `None`) is any size, as of the batch.

    A model class declares them as `inputs = [lambent.Tensor("x", "FP32", (-1, 784))]`, and `outputs`.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raise `InvalidSpec` for what no tensor can be."""
        if not self.name or not isinstance(self.name, str):
            raise InvalidSpec(f"a tensor has a name; this one has {self.name!r}")
        if self.datatype not in ELEMENT_BYTES:
            raise InvalidSpec(
                f"tensor {self.name!r} has the datatype {self.datatype!r}; use {', '.join(ELEMENT_BYTES)}"
            )
        given: Sequence[object] = self.shape
        shape = tuple(ANY_SIZE if size is None else size for size in given)
        if len(shape) > DIMENSIONS_MAX or not all(isinstance(one, int) and one >= ANY_SIZE for one in shape):
            raise InvalidSpec(f"tensor {self.name!r} has the shape {self.shape}: sizes are -1 or more")
        msgspec.structs.force_setattr(self, "shape", shape)


class Signature(msgspec.Struct, frozen=True):
    """What a model takes and gives, as far as it is known: nothing is told of what is not."""

    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()


UNKNOWN: Final = Signature()


class Given(msgspec.Struct, frozen=True):
    """A tensor that came with a request: `size_bytes` of it as bytes, or `None` where it came as JSON."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    size_bytes: int | None = None


def check_given(given: Sequence[Given], signature: Signature) -> None:
    """Raise `CallerFault` for tensors that contradict themselves, one another, or what the model takes."""
    names = [one.name for one in given]
    if len({*names}) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise CallerFault(f"input {_shown(twice)} is given twice")
    for one in given:
        _check_one(one)
    if signature.inputs:
        _check_taken({one.name: one for one in given}, signature.inputs)


def check_wanted(names: Sequence[str], signature: Signature) -> None:
    """Raise `CallerFault` for an output that is asked for twice, or that the model does not give."""
    if len({*names}) != len(names):
        raise CallerFault(
            f"output {_shown(next(one for one in names if names.count(one) > 1))} is asked for twice"
        )
    there = {one.name for one in signature.outputs}
    if there and (unknown := [name for name in names if name not in there]):
        raise CallerFault(
            f"unexpected inference output {_shown(unknown[0])}: there is {', '.join(sorted(there))}"
        )


def elements_of(shape: Sequence[int]) -> int:
    """How many elements a tensor of this shape has."""
    return prod(shape)


def _check_one(one: Given) -> None:
    if one.datatype not in ELEMENT_BYTES:
        raise CallerFault(
            f"input {_shown(one.name)} has the datatype {_shown(one.datatype)}, which is none of "
            f"{', '.join(ELEMENT_BYTES)}"
        )
    if len(one.shape) > DIMENSIONS_MAX:
        raise CallerFault(f"input {_shown(one.name)} has more than {DIMENSIONS_MAX} dimensions")
    if any(not 0 <= size <= ELEMENTS_MAX for size in one.shape):
        raise CallerFault(
            f"input {_shown(one.name)} has the shape {list(one.shape)}: sizes are from 0 to {ELEMENTS_MAX}"
        )
    count = elements_of(one.shape)
    # Sizes of 0 hide nothing: numpy makes no array of a shape whose other sizes are too many together.
    if elements_of([size for size in one.shape if size]) > ELEMENTS_MAX:
        raise CallerFault(f"input {_shown(one.name)} has more than {ELEMENTS_MAX} elements")
    if one.size_bytes is None:
        if one.datatype in ("FP16", "BF16"):
            raise CallerFault(f"input {_shown(one.name)}: {one.datatype} travels as binary data, not as JSON")
        return
    least = count * (ELEMENT_BYTES[one.datatype] or LENGTH_BYTES)
    if one.size_bytes < least or (one.size_bytes > least and one.datatype != BYTES):
        raise CallerFault(
            f"input {_shown(one.name)} has {one.size_bytes} bytes of data; {one.datatype} of shape "
            f"{list(one.shape)} takes {least}{' or more' if one.datatype == BYTES else ''}"
        )


def _check_taken(given: Mapping[str, Given], inputs: Sequence[Tensor]) -> None:
    names = [one.name for one in inputs]
    if unknown := [name for name in given if name not in names]:
        raise CallerFault(
            f"unexpected inference input {_shown(unknown[0])}: the model takes {', '.join(names)}"
        )
    if missing := [name for name in names if name not in given]:
        raise CallerFault(
            f"expected {len(names)} inputs but got {len(given)}: {', '.join(missing)} is missing"
        )
    for wanted in inputs:
        one = given[wanted.name]
        if one.datatype != wanted.datatype:
            raise CallerFault(
                f"inference input {wanted.name!r} data-type is {one.datatype!r}, but the model expects "
                f"{wanted.datatype!r}"
            )
        if not _fits(one.shape, wanted.shape):
            raise CallerFault(
                f"unexpected shape for input {wanted.name!r}: expected {list(wanted.shape)}, "
                f"got {list(one.shape)}"
            )


def _fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(shape) == len(wanted) and all(
        size in (want, ANY_SIZE) or want == ANY_SIZE for size, want in zip(shape, wanted, strict=True)
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}…")
