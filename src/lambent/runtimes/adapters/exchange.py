"""What a model file reads and writes beside JSON: arrays as CSV and NPY, as SageMaker's models do.

An array is rows of instances, and its predictions are written by themselves, without an object around them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from lambent.core.invocation import JSON
from lambent.runtimes import payload
from lambent.runtimes.base import Body, Reply
from lambent.runtimes.context import sent_beside
from lambent.runtimes.sagemaker import formats
from lambent.runtimes.tensors import exchange as tensors
from lambent.wire.frames import Call

ARRAYS: Final = frozenset({formats.CSV, formats.NPY})


class Named(msgspec.Struct, frozen=True):
    """Arrays by the names of the inputs, in place of what JSON says."""

    arrays: dict[str, object]


def read(call: Call, body: Body) -> object:
    """The value that a body holds. Raises `Fault` for a type that nothing here reads, `ValueError`."""
    if tensors.is_tensors(call.content_type):
        return Named(tensors.by_name(body))
    kind = formats.essence(call.content_type)
    if kind in ARRAYS:
        return formats.decode(formats.as_given(kind, bytes(body)), kind)
    if kind and kind != JSON and not kind.endswith("+json"):
        raise formats.unsupported(call.content_type, 415)
    return payload.decode(call.content_type, body)


def write(call: Call, result: object) -> Reply:
    """A result as its caller accepts it; JSON where it says nothing. Raises `Fault` where it cannot be."""
    if tensors.is_tensors(call.content_type):
        return tensors.write(call, result)
    accept = sent_beside(call).get("accept", "")
    for wanted in accept.split(","):
        kind = formats.essence(wanted)
        if kind in ("", JSON, formats.ANY, "application/*"):
            return payload.encode(result)
        if kind in ARRAYS and (array := _array(result)) is not None:
            return Reply(*formats.encode(array, kind))
    raise formats.unsupported(accept, 406)


def _array(result: object) -> object | None:
    """The one array of a result; `None` where there are several."""
    found = [*result.values()] if isinstance(result, Mapping) else []
    return found[0] if len(found) == 1 and isinstance(found[0], np.ndarray) else None
