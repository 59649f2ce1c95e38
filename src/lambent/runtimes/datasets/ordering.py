"""Which items stand at which positions, many at once where numpy is there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from lambent.core.permuting import Order, permuted, share

FEW: Final = 16  # below this, numbers are quicker than arrays


def items_at(order: Order, positions: range, epoch: int = 0) -> Sequence[int]:
    """The items at these positions of an epoch, as a range where they follow one another, or an array."""
    if order.seed is None or not positions:
        return positions
    np = sys.modules.get("numpy")
    if np is None or len(positions) < FEW:
        return [order.item(position, epoch) for position in positions]
    keys, bits = order.keys(epoch), order.bits
    found = permuted(np.arange(positions.start, positions.stop, positions.step, dtype=np.uint64), keys, bits)
    while (outside := found >= order.count).any():
        found[outside] = permuted(found[outside], keys, bits)
    ordered: Sequence[int] = found.astype(np.int64)
    return ordered


def chosen(base: Sequence[int] | None, items: Sequence[int]) -> Sequence[int]:
    """Those of `base` at these places; the places themselves where there is no base."""
    if base is None:
        return items
    if isinstance(items, range) and items.step > 0:
        return base[items.start : items.stop : items.step]
    if hasattr(base, "dtype"):
        array: Any = base
        found: Sequence[int] = array[items]
        return found
    return [base[int(item)] for item in items]


def packed(items: list[int]) -> Sequence[int]:
    """Numbers of items in as little memory as there is a way for."""
    np: Any = sys.modules.get("numpy")
    if np is not None:
        found: Sequence[int] = np.array(items, np.int64)
        return found
    from array import array

    return array("Q", items)


def parted(keys: Sequence[int], bounds: Sequence[float], seed: int) -> list[list[int]]:
    """The places of `keys`, by which of the parts that end at `bounds` each falls into."""
    parts: list[list[int]] = [[] for _ in bounds]
    for place, key in enumerate(keys):
        at = share(key, seed)
        for part, bound in zip(parts, bounds, strict=True):
            if at < bound:
                part.append(place)
                break
    return parts
