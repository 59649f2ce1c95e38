"""Transformed data, kept under what it was made of: the data, the transform's code, and its options.

    FOLDER/<key>/                  arrays as `.npy`
    FOLDER/<key>.json              the list of these files
    FOLDER/<key>.transform.json    what was learnt: a `Chain`
    FOLDER/tmp-*/                  what is being made

A folder that has its name is whole: it came there by a rename, the lists before it. Two who make the same at
once make it twice, and the first to be ready is kept.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np

from lambent.runtimes.datasets.opening import opened
from lambent.wire.datasets import LIST_SUFFIX, SEALED_NS, DatasetFile, FileList
from lambent.wire.oneshot import DatasetRef
from lambent.wire.rows import BadData
from lambent.wire.transforms import Chain
from lambent.wire.typed import from_json

UNFINISHED: Final = "tmp-"
LEARNT: Final = ".transform.json"
VERSION: Final = "lambent transform 1"  # changes with what the transforms of ours do
TABLE: Final = str.maketrans({"/": "_", "\0": "_"})


class Kept:
    """What was made before, below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder

    def find(self, key: str) -> Chain | None:
        """What was learnt when this was made, `None` where it was not, or is damaged."""
        home = self._folder / key
        try:
            learnt = from_json(home.with_name(key + LEARNT).read_bytes(), Chain)
            opened(self.ref(key))
            os.utime(home)  # the least recently used is removed first
        except (OSError, msgspec.DecodeError, BadData):
            return None
        return learnt

    def ref(self, key: str, *, name: str = "", number: int = 0) -> DatasetRef:
        """It as a dataset."""
        return DatasetRef(name, number, str(self._folder / key), key)

    def keep(self, key: str, batches: Iterable[Mapping[str, Any]], count: int, chain: Chain) -> None:
        """Write batches, of `count` items in all, as arrays. Raises `OSError` where there is no room."""
        with self._scratch() as scratch:
            tree = scratch / "tree"
            tree.mkdir()
            _write(tree, batches, count)
            for path in tree.iterdir():
                os.utime(path, ns=(SEALED_NS, SEALED_NS))
            files = tuple(DatasetFile(path.name, path.stat().st_size) for path in sorted(tree.iterdir()))
            _put(scratch / "list", FileList(files), self._folder / (key + LIST_SUFFIX))
            _put(scratch / "learnt", chain, self._folder / (key + LEARNT))
            home = self._folder / key
            try:
                tree.rename(home)
            except OSError:
                if opened_or_none(self.ref(key)):
                    return  # another has just made the same
                shutil.rmtree(home, ignore_errors=True)
                tree.rename(home)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        self._folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self._folder))
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def key_of(data: str, chain: Chain, *, name: str, code: str, options: Mapping[str, Any]) -> str:
    """What tells a transformed dataset from any other. `chain` came before it."""
    content = (VERSION, data, chain.steps, name, code, options)
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def opened_or_none(ref: DatasetRef) -> tuple[DatasetFile, ...] | None:
    """Its files, `None` where they are not as they were."""
    with suppress(BadData):
        return opened(ref)
    return None


def _write(tree: Path, batches: Iterable[Mapping[str, Any]], count: int) -> None:
    """Arrays are written as their batches come, not mapped: a full disk is an error then, no signal."""
    texts: dict[str, list[Any]] = {}
    at = 0
    with ExitStack() as closing:
        files: dict[str, _ArrayFile] = {}
        for batch in batches:
            rows = {name: np.asarray(value) for name, value in batch.items()}
            at += _length(rows)
            for name, value in rows.items():
                if value.dtype.kind in "OUS":
                    texts.setdefault(name, []).extend(value.tolist())
                    continue
                if name not in files:
                    file = closing.enter_context(_path(tree, name).open("wb"))
                    files[name] = _ArrayFile(file, name, value, count)
                files[name].add(value)
        if at != count:
            raise ValueError(f"the transform made {at} items of {count}: one is expected for each")
        for one in files.values():
            one.end()
    for name, column in texts.items():
        # Its length is known at the end only: texts have to be in memory.
        np.save(_path(tree, name), np.array([*map(str, column)]), allow_pickle=False)


class _ArrayFile:
    """An `.npy` file that grows."""

    def __init__(self, file: BinaryIO, name: str, first: Any, count: int) -> None:
        self._file: Final = file
        self._name: Final = name
        self._dtype: Final = first.dtype
        self._shape: Final = first.shape[1:]
        head = {"descr": first.dtype.str, "fortran_order": False, "shape": (count, *self._shape)}
        np.lib.format.write_array_header_2_0(file, head)

    def add(self, rows: Any) -> None:
        if rows.dtype != self._dtype or rows.shape[1:] != self._shape:
            raise ValueError(
                f"{self._name!r} is of {self._dtype} {self._shape} in one batch and of {rows.dtype} "
                f"{rows.shape[1:]} in another"
            )
        self._file.write(np.ascontiguousarray(rows).data)

    def end(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def _path(tree: Path, name: str) -> Path:
    return tree / f"{name.translate(TABLE)}.npy"


def _length(rows: Mapping[str, Any]) -> int:
    lengths = {name: len(value) if value.ndim else -1 for name, value in rows.items()}
    if not lengths or len({*lengths.values()}) != 1 or -1 in lengths.values():
        raise ValueError(f"the transform made values of several lengths: {lengths}")
    return next(iter(lengths.values()))


def _put(beside: Path, value: msgspec.Struct, target: Path) -> None:
    beside.write_bytes(msgspec.json.encode(value))
    beside.replace(target)
