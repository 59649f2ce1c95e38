"""What `embed` and `rerank` return: lists, arrays or tensors of numbers, made ready for the wire."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence
from typing import Any

from lambent.runtimes.faults import Fault
from lambent.wire.skills import Embeddings, Usage, Vectors


def packed(result: object, count: int) -> Vectors:
    """The vectors of `count` inputs, as lists, an array or `Embeddings`. Raises `Fault` for others."""
    usage = _summed(_usage(result))
    given: Any = result.vectors if isinstance(result, Embeddings) else result
    if callable(numpy := getattr(given, "numpy", None)):
        given = numpy()  # a tensor
    if hasattr(given, "astype"):
        shape = tuple(given.shape)
        if len(shape) != 2 or shape[0] != count:
            raise bad(f"embed returned an array of shape {shape} for {count} inputs")
        return Vectors(count, shape[1], given.astype("<f4").tobytes(), usage)
    rows = [numbers(row) for row in _sequence(given)]
    if len(rows) != count or len({len(row) for row in rows}) != 1:
        raise bad(f"embed returned {len(rows)} vectors for {count} inputs; all have to be of one length")
    flat = array("f", [number for row in rows for number in row])
    if sys.byteorder == "big":
        flat.byteswap()
    return Vectors(count, len(rows[0]), flat.tobytes(), usage)


def parted(result: object, counts: Sequence[int]) -> list[Vectors] | None:
    """The vectors of several callers, who have so many inputs each; `None` where one usage is said of all."""
    usage = _usage(result)
    if isinstance(usage, Usage):
        return None
    if usage is not None and len(usage) != sum(counts):
        raise bad(f"embed said the usage of {len(usage)} inputs, and there are {sum(counts)}")
    made, parts, start = packed(result, sum(counts)), [], 0
    for count in counts:
        end, size = start + count, made.dimensions * 4
        each = usage[start:end] if usage is not None else None
        data = made.data[start * size : end * size]
        parts.append(Vectors(count, made.dimensions, data, _summed(each)))
        start = end
    return parts


def likeness(made: Vectors) -> list[float]:
    """The cosine of the angle between the first vector and each of the others."""
    query, *others = [array("f", each) for each in made.each()]
    return [_cosine(query, other) for other in others]


def numbers(given: object) -> list[float]:
    """A list of them. Raises `Fault` where it is none."""
    try:
        return [float(number) for number in _sequence(given)]
    except (TypeError, ValueError) as error:
        raise bad(f"not a list of numbers: {error}") from error


def bad(message: str) -> Fault:
    """What is said of a method that returned what it should not."""
    return Fault("Lambent.BadAnswer", message)


def _usage(result: object) -> Usage | list[Usage] | None:
    return result.usage if isinstance(result, Embeddings) else None


def _summed(usage: Usage | list[Usage] | None) -> Usage | None:
    if usage is None or isinstance(usage, Usage):
        return usage
    return Usage(sum(one.input_tokens for one in usage), sum(one.output_tokens for one in usage))


def _sequence(given: object) -> Sequence[Any]:
    if callable(tolist := getattr(given, "tolist", None)):
        given = tolist()
    if isinstance(given, list | tuple):
        return given
    raise bad(f"a {type(given).__name__} is no list of numbers")


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = math.fsum(a * b for a, b in zip(one, other, strict=True))
    size = math.sqrt(math.fsum(a * a for a in one) * math.fsum(b * b for b in other))
    return product / size if size else 0.0
