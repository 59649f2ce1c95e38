"""`run.data("name")`: a version of a dataset, and views of it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from lambent.core.datasets import DatasetKind, kind_of_all
from lambent.core.permuting import GOLDEN, Order, Pace, shard
from lambent.runtimes.datasets.batches import Batches
from lambent.runtimes.datasets.opening import opened, package, verified
from lambent.runtimes.datasets.ordering import chosen, items_at, packed, parted
from lambent.runtimes.datasets.sources import Batch, Source, rows_of, source_of
from lambent.wire.datasets import DatasetFile
from lambent.wire.oneshot import DatasetRef
from lambent.wire.rows import BadData
from lambent.wire.transforms import Chain

SUM_SLACK: Final = 1e-9  # shares such as 0.7, 0.2 and 0.1 come to a little more than 1
PIECE_ITEMS: Final = 1024


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Which of a source's items a view has, in which order, under which names; None is all, as stored.

    `said` is what was asked for to get it, in words: with the data's digest it names the view's content.
    """

    items: Sequence[int] | None = None
    names: tuple[str, ...] | None = None
    seed: int | None = None
    rank: int = 0
    world: int = 1
    splits: int = 0
    said: tuple[str, ...] = ()


class Ranks(msgspec.Struct, frozen=True):
    """Which rank of how many this worker is."""

    rank: int = 0
    world: int = 1


class Dataset:
    """A version of a dataset, or a part of one. Nothing is read before it is asked for.

    `transform` is what was done to it by `run.transform`. Where a file is missing or is not what it should
    be, `lambent.BadData` is raised, with one line that says which and what to do.
    """

    def __init__(
        self,
        ref: DatasetRef,
        files: Sequence[DatasetFile] | None = None,
        part: Part | None = None,
        *,
        source: Source | None = None,
        ranks: Ranks | None = None,
        transform: Chain | None = None,
    ) -> None:
        self.transform: Final = transform or Chain()
        self.name: Final = ref.name
        self.version: Final = ref.number
        self.digest: Final = ref.digest
        self.path: Final = Path(ref.path)
        self._ref: Final = ref
        self._files: Final = tuple(opened(ref) if files is None else files)
        self._part: Final = part or Part()
        self._ranks: Final = ranks or Ranks()
        self._source = source

    def __repr__(self) -> str:
        return f"Dataset({' '.join((f'{self.name}@{self.version}', *self._part.said))!r})"

    @property
    def kind(self) -> DatasetKind:
        """How its items are read: numpy, csv, jsonl, parquet, images or files."""
        return kind_of_all(one.path for one in self._files)

    @property
    def key(self) -> str:
        """What tells its content from any other: the digest, and what was asked for to get this part."""
        return " ".join((self.digest, *self._part.said))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the values of each item: columns or arrays; `image` and `label` of images, `path` of files."""
        return tuple(self._part.names or self._opened.names)

    @property
    def labels(self) -> tuple[str, ...]:
        """Of images: the folders that they lie in, in the order of the numbers that stand for them."""
        return tuple(getattr(self._opened, "labels", ()))

    def files(self) -> list[Path]:
        """All its files, in the order of their paths."""
        return [self.path / one.path for one in self._files]

    def verify(self) -> None:
        """Read every file and compare it with its digest. Raises `BadData`."""
        verified(self.path, self._files)

    def arrays(self) -> Mapping[str, Any]:
        """Every value by name, as arrays: those of `.npy` files are mapped, and cost no memory."""
        part = self._part
        if part.items is None and part.seed is None and part.world == 1:
            if part.names is None:
                return self._opened.whole
            if self.kind is not DatasetKind.IMAGES:  # decoding what nobody asked for costs much
                return {name: self._opened.whole[name] for name in part.names}
        return self._opened.take(self._items(), self.names)

    def table(self) -> Any:
        """All of it as a `pyarrow.Table`, or a `pandas.DataFrame` where only pandas is installed."""
        columns = dict(self.arrays())
        try:
            return package("pyarrow", "a table", "pyarrow").table(columns)
        except ImportError:
            return package("pandas", "a table", "pyarrow").DataFrame(columns)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each item as a dict of its values by name."""
        for piece in self.pieces(PIECE_ITEMS):
            yield from rows_of(piece)

    def pieces(self, size: int) -> Iterator[Batch]:
        """All items once, so many at a time, in the order of `rows`."""
        items = self._items()
        for start in range(0, len(items), size):
            yield self._opened.take(items[start : start + size], self.names)

    def images(self) -> Iterator[tuple[Any, str]]:
        """Each image as Pillow has it, with its label: the folder that it lies in."""
        source = self._opened
        if self.kind is not DatasetKind.IMAGES:
            raise BadData(f"{self.name}@{self.version} holds no images: it is of the kind {self.kind}")
        for item in self._items():
            yield source.image(int(item)), source.label(int(item))  # type: ignore[attr-defined]  # images have

    def __len__(self) -> int:
        """How many items there are: rows, lines, images or files."""
        return len(shard(self._count, self._part.rank, self._part.world))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.rows()

    # --- parts ---

    def only(self, *patterns: str) -> Dataset:
        """What is in the files whose paths match one of the patterns, such as `train/*`. Raises `BadData`."""
        files = [one for one in self._files if any(fnmatch.fnmatchcase(one.path, each) for each in patterns)]
        if not files:
            raise BadData(f"{self.name}@{self.version} has no file that matches {' or '.join(patterns)}")
        if self._part.items is not None or self._part.seed is not None or self._part.world > 1:
            raise ValueError("files are chosen first, with only(...); then comes what parts them")
        return self._with(self._part, f"only {sorted(patterns)}", files=files)

    def select(self, *names: str) -> Dataset:
        """The same items with these values alone. Raises `KeyError` for one that is not there."""
        there = (*self._opened.names, "path") if self.kind is DatasetKind.IMAGES else self._opened.names
        for name in names:
            if name not in there:
                raise KeyError(f"{self.name}@{self.version} has no {name!r}; it has {', '.join(there)}")
        part = msgspec.structs.replace(self._part, names=names)
        return self._with(part, f"select {list(names)}")

    def split(self, *, seed: int = 0, **shares: float) -> tuple[Dataset, ...]:
        """Parts by the shares of them, as in `train, test = data.split(train=0.9, test=0.1)`.

        An item is in the same part in every later version: which one is told by a hash of its number, or of
        its path, and so shares are met about, not exactly. Raises `ValueError` for shares over 1 in all.
        """
        if not shares or min(shares.values()) <= 0 or sum(shares.values()) > 1 + SUM_SLACK:
            raise ValueError(f"shares have to be above 0 and 1 in all at the most, not {shares}")
        bounds = [sum([*shares.values()][: place + 1]) for place in range(len(shares))]
        bounds[-1] += SUM_SLACK * 2
        items = self._items()
        source = self._opened
        # A part of a part must not be told by the same numbers: it would have all of them, or none.
        own_seed = seed + self._part.splits * GOLDEN
        parts = parted([source.key(int(item)) for item in items], bounds, own_seed)
        return tuple(
            self._with(
                Part(
                    items=packed([int(items[place]) for place in part]),
                    names=self._part.names,
                    splits=self._part.splits + 1,
                    said=self._part.said,
                ),
                f"split {sorted(shares.items())} seed {seed} {name}",
            )
            for name, part in zip(shares, parts, strict=True)
        )

    def shard(self, rank: int | None = None, world: int | None = None) -> Dataset:
        """What is for one rank of `world`: this worker's own, unless told. Every item is for exactly one."""
        rank = self._ranks.rank if rank is None else rank
        world = self._ranks.world if world is None else world
        if self._part.world > 1:
            raise ValueError("this is a shard already")
        shard(0, rank, world)
        return self._with(
            msgspec.structs.replace(self._part, rank=rank, world=world), f"shard {rank} of {world}"
        )

    def shuffle(self, seed: int) -> Dataset:
        """The same items in an order of their own for each seed, and in batches for each epoch.

        A shard is shuffled with the others: in each epoch it has other items.
        """
        part = msgspec.structs.replace(self._part, seed=int(seed))
        return self._with(part, f"shuffle {int(seed)}")

    def batches(self, size: int, *, epochs: int = 1, even: bool = False) -> Batches:
        """Batches of `size` items, each a dict of arrays by name, for so many epochs.

        `even` leaves out what does not make a whole batch for every rank, so that all take equally many
        steps. Its place, `state()` and `load(...)`, is part of a checkpoint.
        """
        part = self._part
        pace = Pace(size=size, rank=part.rank, world=part.world, epochs=epochs, even=even)
        base, names, source = part.items, self.names, self._opened

        def take(items: Sequence[int]) -> Batch:
            return source.take(chosen(base, items), names)

        # Another number of ranks may go on from a place: which rank this is does not belong to it.
        said = (word for word in part.said if not word.startswith("shard "))
        return Batches(Order(self._count, part.seed), pace, take, of=" ".join((self.digest, *said)))

    # --- inside ---

    @property
    def _opened(self) -> Source:
        if self._source is None:
            self._source = source_of(self.path, self._files)
        return self._source

    @property
    def _count(self) -> int:
        """Of all ranks."""
        part = self._part
        if part.items is not None:
            return len(part.items)
        if part.names is not None and self.kind is DatasetKind.NUMPY:
            from lambent.runtimes.datasets.numpy_files import length_of

            return length_of(self._opened.whole, part.names)
        return self._opened.count

    def _items(self) -> Sequence[int]:
        """The numbers of this part's items, in its order."""
        part, count = self._part, self._count
        ordered = items_at(Order(count, part.seed), shard(count, part.rank, part.world))
        return chosen(part.items, ordered)

    def _with(self, part: Part, said: str, files: Sequence[DatasetFile] | None = None) -> Dataset:
        told = msgspec.structs.replace(part, said=(*part.said, said))
        source = self._source if files is None else None
        return Dataset(
            self._ref, files or self._files, told, source=source, ranks=self._ranks, transform=self.transform
        )
