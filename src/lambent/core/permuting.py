"""In what order a dataset is gone through: seeded, shared among ranks, and taken up again at any place.

A permutation is a function of the position, so that an order of a billion items is three numbers. It is a
Feistel network over the next power of two, walked until the value falls below the count (Black and Rogaway,
"Ciphers with Arbitrary Finite Domains", 2002, section 4); its rounds mix by the finaliser of SplitMix64
(Steele, Lea and Flood, 2014). Nothing of it depends on Python's version, hash or random module.

Positions are those of the whole epoch, of all ranks together. A place in it is therefore the same whatever
the number of ranks: who goes on with another number shares what is left.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

MASK: Final = 2**64 - 1
GOLDEN: Final = 0x9E3779B97F4A7C15
ROUNDS: Final = 6  # four already pass tests of uniformity; with halves of a bit or two, a few more help
COUNT_MAX: Final = 2**62

# A Python integer, or an array of unsigned 64-bit integers, which wraps by itself: the same words serve both.
Word = Any


class Order(msgspec.Struct, frozen=True):
    """The order of `count` items: as they are stored, or shuffled anew in each epoch by `seed`."""

    count: int
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.count <= COUNT_MAX:
            raise ValueError(f"an order of {self.count} items: from 0 to {COUNT_MAX} can be put into one")

    def item(self, position: int, epoch: int = 0) -> int:
        """Which item comes at `position`, from 0 to `count` - 1, of an epoch. Raises `IndexError`."""
        if not 0 <= position < self.count:
            raise IndexError(f"there is no position {position} among {self.count}")
        if self.seed is None:
            return position
        keys = self.keys(epoch)
        found: int = permuted(position, keys, self.bits)
        while found >= self.count:
            found = permuted(found, keys, self.bits)
        return found

    @property
    def bits(self) -> int:
        """Of the power of two that the network works on."""
        return max(2, (self.count - 1).bit_length())

    def keys(self, epoch: int) -> tuple[int, ...]:
        """The network's keys in an epoch; none where items come as they are stored."""
        if self.seed is None:
            return ()
        state = mixed((self.seed & MASK) + mixed((epoch + 1) * GOLDEN & MASK) & MASK)
        return tuple(mixed(state + (number + 1) * GOLDEN & MASK) for number in range(ROUNDS))


class Place(msgspec.Struct, frozen=True):
    """How far all ranks together are: so many epochs, and positions of the one under way."""

    epoch: int = 0
    taken: int = 0


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How an order is gone through: `size` items a batch for each of `world` ranks, `epochs` times.

    `even` leaves out the last items of an epoch that do not make a whole batch for every rank.
    """

    size: int
    rank: int = 0
    world: int = 1
    epochs: int = 1
    even: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a batch of {self.size} items: one is the least")
        if not 0 <= self.rank < self.world:
            raise ValueError(f"rank {self.rank} of {self.world}: ranks count from 0 to {self.world - 1}")
        if self.epochs < 0:
            raise ValueError(f"{self.epochs} epochs: 0 is the least")

    @property
    def stride(self) -> int:
        """How many positions all ranks together take with one batch each."""
        return self.size * self.world

    def settled(self, place: Place, count: int) -> Place | None:
        """Where the next batch begins: `place`, or the next epoch where it is used up; None at the end."""
        least = self.stride if self.even else 1
        if count < least:
            return None
        if count - place.taken < least:
            place = Place(place.epoch + 1)
        return place if place.epoch < self.epochs else None

    def positions(self, place: Place, count: int) -> range:
        """What this rank takes of the batches at `place`; nothing where the last items are for others."""
        return range(place.taken + self.rank, min(place.taken + self.stride, count), self.world)

    def after(self, place: Place, count: int) -> Place:
        """The place behind the batches at `place`."""
        return Place(place.epoch, min(place.taken + self.stride, count))

    def batches(self, count: int) -> int:
        """How many batches this rank gets in an epoch."""
        whole, rest = divmod(count, self.stride)
        return whole + (not self.even and rest > self.rank)


def shard(count: int, rank: int, world: int) -> range:
    """The positions of one rank: every item is in exactly one shard, and none is larger by more than one."""
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} of {world}: ranks count from 0 to {world - 1}")
    return range(rank, count, world)


def share(key: int, seed: int) -> float:
    """A number from 0 up to 1 that belongs to `key`, such as an item's number: by it items are parted."""
    word: int = mixed(mixed(seed & MASK) ^ mixed((key + 1) * GOLDEN & MASK))
    return (word >> 11) / 2.0**53


def permuted(value: Word, keys: tuple[int, ...], bits: int) -> Word:
    """`value` below 2**`bits` as another one: a bijection for any keys."""
    low = bits // 2
    for key in keys:
        # The halves change places and widths: the upper one is the next lower one's mixed companion.
        high = bits - low
        left, right = value >> low, value & ((1 << low) - 1)
        left = (left ^ mixed((right + key) & MASK)) & ((1 << high) - 1)
        value, low = (right << high) | left, high
    return value


def mixed(word: Word) -> Word:
    """SplitMix64's finaliser: every bit of the result depends on every bit of the word."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & MASK
    return word ^ (word >> 31)
