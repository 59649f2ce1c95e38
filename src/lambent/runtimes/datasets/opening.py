"""The files of a version, checked against the list that was made when it was added."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

import msgspec

from lambent.wire.datasets import LIST_SUFFIX, SEALED_NS, DatasetFile, FileList
from lambent.wire.oneshot import DatasetRef
from lambent.wire.rows import BadData
from lambent.wire.typed import from_json

SHOWN_MAX: Final = 3


class MissingPackage(ImportError):
    """A package that reads this kind of data is not installed."""


def opened(ref: DatasetRef) -> tuple[DatasetFile, ...]:
    """The files, by their paths. Raises `BadData` that names those which are missing or were changed.

    Sizes and times are looked at, which takes microseconds a file; `verified` reads the bytes.
    """
    what = f"{ref.name}@{ref.number}"
    if not ref.path:
        raise BadData(f"the files of {what} are gone: add the dataset again")
    listed = Path(ref.path + LIST_SUFFIX)
    try:
        files = from_json(listed.read_bytes(), FileList).entries
    except (OSError, msgspec.DecodeError) as error:
        raise BadData(
            f"the list of {what}'s files cannot be read ({error}): add the dataset again"
        ) from error
    folder = Path(ref.path)
    wrong = [one.path for one in files if not _is_as_kept(folder / one.path, one.size_bytes)]
    if wrong:
        more = f" and {len(wrong) - SHOWN_MAX} more" if len(wrong) > SHOWN_MAX else ""
        raise BadData(
            f"{what}: {', '.join(wrong[:SHOWN_MAX])}{more} missing or changed on the server's disk: add the "
            "dataset again"
        )
    return files


def verified(folder: Path, files: Sequence[DatasetFile]) -> None:
    """Read every byte again. Raises `BadData` that names the first file which is not as it was added."""
    import hashlib

    for one in files:
        with (folder / one.path).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != one.sha256:
                raise BadData(f"{one.path} is not as it was added: add the dataset again")


def package(name: str, what: str, install: str) -> ModuleType:
    """A package that is only needed for this. Raises `MissingPackage` that says how to get it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != name.partition(".")[0]:
            raise
        raise MissingPackage(f"{what} needs {install}: pip install {install}") from None


def _is_as_kept(path: Path, size_bytes: int) -> bool:
    try:
        now = path.stat()
    except OSError:
        return False
    return (now.st_size, now.st_mtime_ns) == (size_bytes, SEALED_NS)
