"""The part of the client for datasets: a file or a folder becomes the next version of one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

from lambent.client.archive import Archive, Member, member
from lambent.client.dead_letters import Get
from lambent.client.errors import BundleError
from lambent.client.folder import scan, within
from lambent.client.uploading import Sent
from lambent.core.datasets import check_name, name_and_number
from lambent.wire.datasets import DatasetDetail, DatasetReply, DatasetsRemoved, DatasetView
from lambent.wire.rows import HEAD_BYTES, TAIL_BYTES, BadData, csv_rows, json_rows, wrong_head


class Upload(Protocol):
    """Sends an archive to the control API."""

    def __call__(
        self, path: str, archive: Archive, kind: type[DatasetReply], sent: Sent | None, /
    ) -> DatasetReply: ...


class Remove(Protocol):
    """Has the control API remove something."""

    def __call__(self, path: str, kind: type[DatasetsRemoved], /) -> DatasetsRemoved: ...


class Datasets:
    """The project's datasets. Every method raises what the client's own do."""

    def __init__(self, *, get: Get, upload: Upload, remove: Remove) -> None:
        self._get: Final = get
        self._upload: Final = upload
        self._remove: Final = remove

    def add(
        self,
        name: str,
        path: str | Path,
        *,
        checking: Callable[[str], None] | None = None,
        sent: Sent | None = None,
    ) -> DatasetReply:
        """Make a file or a folder the next version of a dataset; what is there already is not sent twice.

        Files are looked at first, and `checking` hears of each: `BundleError` says which is missing, leads
        out of the folder, or is not what its name says. The same content has the same number.
        """
        check_name(name)
        archive = Archive(_checked(_members(Path(path)), checking))
        return self._upload(_path(name), archive, DatasetReply, sent)

    def all(self) -> tuple[DatasetView, ...]:
        """The newest version of each."""
        return self._get("/api/v1/datasets", tuple[DatasetView, ...])

    def show(self, name: str) -> DatasetDetail:
        """A version, as `NAME@N`, or the newest of `NAME`, with its files."""
        return self._get(_path(*name_and_number(name)), DatasetDetail)

    def remove(self, name: str) -> tuple[DatasetView, ...]:
        """Remove a version, as `NAME@N`, or all of `NAME`. A run that is held to it goes on."""
        return self._remove(_path(*name_and_number(name)), DatasetsRemoved).removed


def _path(name: str, number: int | None = None) -> str:
    path = f"/api/v1/datasets/{quote(check_name(name), safe='')}"
    return path if number is None else f"{path}?number={number}"


def _members(path: Path) -> Iterator[Member]:
    if path.is_file():
        yield member(path.name, path)
        return
    if not path.is_dir():
        what = "a link to nothing" if path.is_symlink() else "not there"
        raise BundleError(f"{path} is {what}")
    found = False
    for name, source in scan(path, path):
        found = True
        yield member(name, within(source, path))
    if not found:
        raise BundleError(f"{path} holds no files")


def _checked(members: Iterator[Member], checking: Callable[[str], None] | None) -> Iterator[Member]:
    for one in members:
        if checking is not None:
            checking(one.path)
        try:
            _check(one)
        except BadData as error:
            raise BundleError(str(error)) from error
        except OSError as error:
            raise BundleError(f"cannot read {one.source}: {error.strerror}") from error
        yield one


def _check(one: Member) -> None:
    suffix = one.path.rpartition(".")[2].lower()
    if suffix in ("csv", "tsv"):
        with one.source.open(encoding="utf-8-sig", newline="") as lines:
            for _ in csv_rows(lines, one.path):
                pass
    elif suffix in ("jsonl", "ndjson"):
        with one.source.open("rb") as file:
            for _ in json_rows(file, one.path):
                pass
    else:
        with one.source.open("rb") as file:
            head = file.read(HEAD_BYTES)
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            wrong = wrong_head(one.path, head=head, tail=file.read(TAIL_BYTES))
        if wrong:
            raise BadData(wrong)
