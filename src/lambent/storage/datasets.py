"""Datasets: which versions of them there are. Their files are artifacts of a store of their own.

As in `base`, methods block, and what one returns from is on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from lambent.core.datasets import DatasetKind


class DatasetVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a dataset. No number is given twice: what is `removed` keeps its own."""

    project: str
    name: str
    number: int
    digest: str
    kind: DatasetKind
    size_bytes: int
    files: int
    created_unix_ms: int
    removed: bool = False


class Datasets(Protocol):
    """The versions of every project's datasets."""

    def add(self, wanted: DatasetVersion) -> tuple[DatasetVersion, bool]:
        """Store content as the next version of its name, whatever its number says.

        Content that is there gives that version, and what was removed comes back under its number; the
        second value says whether there is a version now that was not there before.
        """

    def find(self, project: str, name: str, number: int | None = None) -> DatasetVersion | None:
        """A version, or the newest of a name; None where it is not there or removed."""

    def versions(self, project: str, name: str = "") -> Sequence[DatasetVersion]:
        """Those of a name, or of every name; by name, newest first. None that is removed."""

    def remove(self, project: str, name: str, number: int | None = None) -> Sequence[DatasetVersion]:
        """Remove a version, or all of a name, and return them. Raises `NotFound`."""

    def newest(self, project: str) -> dict[str, int]:
        """The number of the newest version of each."""

    def held(self, project: str, numbers: Mapping[str, int]) -> Sequence[DatasetVersion]:
        """The versions of these names and numbers, also those that were removed meanwhile."""

    def digests(self) -> frozenset[str]:
        """Of all that is there, and of what was removed while a run that has not ended is held to it."""
