"""NumPy's files: `.npy` mapped where it lies, `.npz` read an array at a time, when it is asked for."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from lambent.runtimes.datasets.opening import package
from lambent.runtimes.datasets.sources import Batch
from lambent.wire.rows import BadData


class Arrays(Mapping[str, Any]):
    """Arrays by name, each read when it is first asked for."""

    def __init__(self, readers: Mapping[str, Callable[[], Any]]) -> None:
        self._readers: Final = readers
        self._read: Final[dict[str, Any]] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._read:
            if name not in self._readers:
                raise KeyError(f"there is no array {name!r}; there is {', '.join(self._readers)}")
            self._read[name] = self._readers[name]()
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


class NumpyFiles:
    """Implements `sources.Source`: the items are the rows of arrays of one length."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.whole: Final = arrays
        self.names: Final[Sequence[str]] = tuple(arrays)

    @property
    def count(self) -> int:
        """The length of all of them. Raises `BadData` where they differ: some have to be selected then."""
        return length_of(self.whole, self.names)

    def take(self, items: Sequence[int], names: Sequence[str]) -> Batch:
        """Rows of each."""
        return {name: self.whole[name][_index(items)] for name in names}

    def key(self, item: int) -> int:
        """By its number: rows that are added come behind."""
        return item


def length_of(arrays: Mapping[str, Any], names: Sequence[str]) -> int:
    """How many rows these arrays have. Raises `BadData` where they differ."""
    lengths = {name: len(arrays[name]) if arrays[name].ndim else -1 for name in names}
    if -1 in lengths.values() or len({*lengths.values()}) != 1:
        told = ", ".join(f"{name} {list(arrays[name].shape)}" for name in names)
        raise BadData(f"the arrays are not of one length ({told}): choose some with select(...)")
    return next(iter(lengths.values()))


def opened(folder: Path, files: Sequence[str]) -> NumpyFiles:
    """Reads lists of names, no arrays. An array of an `.npy` is called as its file, without the suffix."""
    np = package("numpy", "a dataset of arrays", "numpy")
    readers: dict[str, Callable[[], Any]] = {}
    for file in files:
        found = (
            _members(np, folder, file)
            if file.lower().endswith(".npz")
            else {file[:-4]: partial(_mapped, np, folder, file)}
        )
        if twice := sorted(found.keys() & readers.keys()):
            raise BadData(f"the array {twice[0]!r} is in {file} and in another file: choose with only(...)")
        readers.update(found)
    return NumpyFiles(Arrays(readers))


def _members(np: ModuleType, folder: Path, file: str) -> dict[str, Callable[[], Any]]:
    try:
        with zipfile.ZipFile(folder / file) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise BadData(f"{file} is no npz file that can be read: {error}") from error
    return {name: partial(_member, np, folder, file, name) for name in names}


def _member(np: ModuleType, folder: Path, file: str, name: str) -> Any:
    try:
        with np.load(folder / file, allow_pickle=False) as archive:
            return archive[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadData(f"{file}: the array {name!r} cannot be read: {error}") from error


def _mapped(np: ModuleType, folder: Path, file: str) -> Any:
    try:
        return np.load(folder / file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadData(f"{file} is no npy file that can be read: {error}") from error


def _index(items: Sequence[int]) -> Any:
    """A range as a slice, which copies nothing."""
    if isinstance(items, range) and items.step > 0:
        return slice(items.start, items.stop, items.step)
    return items
