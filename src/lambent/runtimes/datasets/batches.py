"""Going through a dataset in batches, from any place on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from lambent.core.permuting import Order, Pace, Place
from lambent.runtimes.datasets.ordering import items_at
from lambent.runtimes.datasets.sources import Batch

BLOCK_ITEMS: Final = 8192


class _Block(msgspec.Struct, frozen=True):
    """Items that come next."""

    epoch: int
    positions: range
    items: Sequence[int]

    def holds(self, positions: range) -> bool:
        return positions.start in self.positions and positions[-1] in self.positions


class Batches(Iterator[Batch]):
    """Batches of a dataset, for some epochs. The place is part of a checkpoint: `state()`, `load(state)`."""

    def __init__(self, order: Order, pace: Pace, take: Callable[[Sequence[int]], Batch], *, of: str) -> None:
        """`take` makes a batch of items; `of` names the data, so that no other is gone on with."""
        self._order: Final = order
        self._pace: Final = pace
        self._take: Final = take
        self._of: Final = of
        self._place = Place()
        self._block: _Block | None = None

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Batch:
        place = self._pace.settled(self._place, self._order.count)
        positions = range(0) if place is None else self._pace.positions(place, self._order.count)
        if place is not None and not positions:
            # The last few items are for other ranks: this one goes on with the next epoch.
            self._place = self._pace.after(place, self._order.count)
            place = self._pace.settled(self._place, self._order.count)
            positions = range(0) if place is None else self._pace.positions(place, self._order.count)
        if place is None or not positions:
            raise StopIteration
        batch = self._take(self._items(positions, place.epoch))
        self._place = self._pace.after(place, self._order.count)
        return batch

    def __len__(self) -> int:
        """How many batches this rank gets in all, from the beginning."""
        return self._pace.batches(self._order.count) * self._pace.epochs

    @property
    def epoch(self) -> int:
        """The epoch of the next batch, from 0; after the last, how many there were."""
        place = self._pace.settled(self._place, self._order.count)
        return self._pace.epochs if place is None else place.epoch

    def _items(self, positions: range, epoch: int) -> Sequence[int]:
        """Thousands are permuted at once: for each batch by itself that takes longer than to copy it."""
        block = self._block
        if block is None or block.epoch != epoch or not block.holds(positions):
            ahead = max(len(positions), BLOCK_ITEMS)
            end = min(self._order.count, positions.start + ahead * positions.step)
            whole = range(positions.start, end, positions.step)
            block = self._block = _Block(epoch, whole, items_at(self._order, whole, epoch))
        first = (positions.start - block.positions.start) // positions.step
        return block.items[first : first + len(positions)]

    def state(self) -> dict[str, object]:
        """Where it is: behind the batch that was last given. Plain values, for a checkpoint."""
        return {
            "of": self._of,
            "count": self._order.count,
            "seed": self._order.seed,
            "epoch": self._place.epoch,
            "taken": self._place.taken,
        }

    def load(self, state: Mapping[str, object]) -> Batches:
        """Go on from there; the size of batches and the number of ranks may be others than before.

        Raises `ValueError` where the state is of other data, of another order or no state at all.
        """
        for name, own in {**self.state(), "epoch": None, "taken": None}.items():
            if name not in state:
                raise ValueError(f"this is no place in a dataset: it has no {name!r}")
            if name not in ("epoch", "taken") and state[name] != own:
                raise ValueError(
                    f"the place is one in other data: its {name!r} is {state[name]!r}, here it is {own!r}"
                )
        epoch, taken = state["epoch"], state["taken"]
        if not (isinstance(epoch, int) and isinstance(taken, int) and epoch >= 0):
            raise ValueError(f"this is no place in a dataset: epoch {epoch!r}, taken {taken!r}")
        if not 0 <= taken <= self._order.count:
            raise ValueError(f"there is no place {taken} among {self._order.count} items")
        self._place = Place(epoch, taken)
        return self
