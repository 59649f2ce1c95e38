"""Shapes of the control API: datasets and their versions. Also what lies beside a dataset's files."""

from __future__ import annotations

from typing import Final

import msgspec

# The time of change of every file that is kept: 1980, as in archives that are built to be equal. Whatever
# writes to one later gives it another.
SEALED_NS: Final = 315_532_800 * 10**9
# Beside the folder of an artifact lies its list of files, under the folder's name with this behind it.
LIST_SUFFIX: Final = ".json"


class DatasetFile(msgspec.Struct, frozen=True):
    """One file of a dataset, by its path in it; `sha256` in hex."""

    path: str
    size_bytes: int
    sha256: str = ""


class FileList(msgspec.Struct, frozen=True):
    """What lies beside a dataset's folder: its files in the order of their paths."""

    entries: tuple[DatasetFile, ...]


class DatasetView(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a dataset. `kind`: numpy, csv, jsonl, parquet, images, files."""

    name: str
    number: int
    digest: str
    kind: str
    size_bytes: int
    files: int
    created_unix_ms: int


class DatasetReply(msgspec.Struct, frozen=True, kw_only=True):
    """What was added. It has not `changed` where the same content was there; `runs` were started by it."""

    dataset: DatasetView
    changed: bool
    runs: tuple[str, ...] = ()


class DatasetDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A version with its files, of which `files_left_out` are not listed, and all versions, newest first."""

    dataset: DatasetView
    versions: tuple[DatasetView, ...]
    files: tuple[DatasetFile, ...]
    files_left_out: int = 0


class DatasetsRemoved(msgspec.Struct, frozen=True):
    """What was removed."""

    removed: tuple[DatasetView, ...]
