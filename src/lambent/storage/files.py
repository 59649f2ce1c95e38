"""Files that clients keep here and files that are made for them, each with its record. Methods block.

What lies in the folder is whole: it is written under another name first. A file is there once its record is.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lambent.core.errors import StorageFull
from lambent.storage.artifacts_tree import sync_folder
from lambent.storage.records import Records, record_of, value_of
from lambent.storage.statedir import write_private
from lambent.wire.openai.files import StoredFile

KIND: Final = "openai.file"


class Files:
    """The files of every project, in a folder and a table."""

    def __init__(self, records: Records, folder: Path) -> None:
        self._records: Final = records
        self._folder: Final = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, file: StoredFile, content: bytes) -> None:
        """On disk once this returns. Raises `StorageFull`."""
        folder = self._folder / file.project
        try:
            folder.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageFull(f"cannot make {folder}: {error.strerror}") from error
        write_private(folder / file.id, content)
        self._records.put(record_of(KIND, file))

    def adopt(self, file: StoredFile, made: Path) -> None:
        """Take a whole file of this file system under its name; its record is the caller's to store."""
        folder = self._folder / file.project
        try:
            folder.mkdir(exist_ok=True, mode=0o700)
            made.replace(folder / file.id)
            sync_folder(folder)
        except OSError as error:
            raise StorageFull(f"cannot keep {file.id}: {error.strerror}") from error

    def find(self, project: str, file: str, *, now_unix_ms: int) -> StoredFile | None:
        """One file; None where it is not there or its time is over."""
        record = self._records.find(project, KIND, file)
        found = None if record is None else value_of(record, StoredFile)
        return None if found is None or _is_over(found, now_unix_ms) else found

    def all(self, project: str, *, now_unix_ms: int) -> Sequence[StoredFile]:
        """Newest first. Those whose time is over are removed."""
        files = [value_of(record, StoredFile) for record in self._records.all(project, KIND)]
        for file in files:
            if _is_over(file, now_unix_ms):
                self.remove(project, file.id)
        kept = [file for file in files if not _is_over(file, now_unix_ms)]
        return sorted(kept, key=lambda file: (file.created_unix_ms, file.id), reverse=True)

    def path(self, file: StoredFile) -> Path:
        """Where its content is."""
        return self._folder / file.project / file.id

    def remove(self, project: str, file: str) -> bool:
        """Forget one. Whether it was there."""
        there = self._records.remove(project, KIND, file)
        if there:
            (self._folder / project / file).unlink(missing_ok=True)
        return there

    def sweep(self) -> None:
        """At start: what a server left that ended between writing a file and its record."""
        for folder in self._folder.iterdir():
            known = {record.name for record in self._records.all(folder.name, KIND)}
            for path in folder.iterdir():
                if path.name not in known:
                    path.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Blocks."""
    shutil.rmtree(folder, ignore_errors=True)


def _is_over(file: StoredFile, now_unix_ms: int) -> bool:
    return file.expires_unix_ms is not None and file.expires_unix_ms <= now_unix_ms
