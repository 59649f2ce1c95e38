"""What a dataset's files hold, as numbered items; one module for each kind of files."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

from lambent.core.datasets import DatasetKind, kind_of_all
from lambent.wire.datasets import DatasetFile

# Values by their names: one of each for every item, as an array, or as a list where they make none.
Batch = dict[str, Any]


class Source(Protocol):
    """Items by their numbers. Raises `BadData` where a file is not what it should be."""

    @property
    def count(self) -> int:
        """How many items there are."""

    @property
    def names(self) -> Sequence[str]:
        """Of the values of each item: columns, or arrays."""

    @property
    def whole(self) -> Mapping[str, Any]:
        """The values of all items by name; mapped from files where that can be."""

    def take(self, items: Sequence[int], names: Sequence[str]) -> Batch:
        """The values of these items, in this order."""

    def key(self, item: int) -> int:
        """A number that stays the item's own in later versions: by it items are parted."""


class Open(Protocol):
    """A module's `opened`. Raises `BadData`, `MissingPackage`."""

    def __call__(self, folder: Path, files: Sequence[str], /) -> Source: ...


MODULES: Final[Mapping[DatasetKind, str]] = MappingProxyType(
    {
        DatasetKind.NUMPY: "lambent.runtimes.datasets.numpy_files",
        DatasetKind.CSV: "lambent.runtimes.datasets.csv_files",
        DatasetKind.JSON_LINES: "lambent.runtimes.datasets.json_lines",
        DatasetKind.PARQUET: "lambent.runtimes.datasets.parquet",
        DatasetKind.IMAGES: "lambent.runtimes.datasets.images",
        DatasetKind.FILES: "lambent.runtimes.datasets.plain",
    }
)


def source_of(folder: Path, files: Iterable[DatasetFile]) -> Source:
    """The items of these files; what only tells of the others is not among them."""
    from lambent.core.datasets import kind_of

    paths = [one.path for one in files]
    kind = kind_of_all(paths)
    meant = paths if kind is DatasetKind.FILES else [path for path in paths if kind_of(path) is kind]
    opener: Open = importlib.import_module(MODULES[kind]).opened
    return opener(folder, meant)


def rows_of(batch: Batch) -> Iterable[dict[str, Any]]:
    """A batch item by item."""
    names = tuple(batch)
    for values in zip(*batch.values(), strict=True):
        yield dict(zip(names, values, strict=True))
