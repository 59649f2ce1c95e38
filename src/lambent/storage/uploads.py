"""What is kept of files that come in parts: a record of each, and its parts until it is whole. Methods block.

A part is a file of its own, there as a whole or not at all. Whoever calls sees to it that of one upload one
method runs at a time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from lambent.core.errors import StorageFull
from lambent.storage.files import KIND as FILE
from lambent.storage.files import Files, remove_tree
from lambent.storage.records import Record, Records, record_of, value_of
from lambent.storage.statedir import write_private
from lambent.wire.openai.files import StoredFile
from lambent.wire.openai.uploads import StoredUpload, UploadState

KIND: Final = "openai.upload"
LIVE: Final = "openai.upload.live"  # the names of all of them, of no project
WHOLE: Final = "whole"
PART: Final = "part_"
PIECE_BYTES: Final = 1 << 20


class Uploads:
    """The uploads of every project."""

    def __init__(self, records: Records, files: Files, folder: Path) -> None:
        self._records: Final = records
        self._files: Final = files
        self._folder: Final = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def begin(self, upload: StoredUpload) -> None:
        """A new one, on disk once this returns. Raises `StorageFull`."""
        try:
            (self._folder / upload.id).mkdir(mode=0o700)
        except OSError as error:
            raise StorageFull(f"cannot keep {upload.id}: {error.strerror}") from error
        live = Record(project="", kind=LIVE, name=upload.id, key=upload.project)
        self._records.put(record_of(KIND, upload), live)

    def parts(self, upload: StoredUpload) -> Mapping[str, int]:
        """The size in bytes of each part that is there."""
        there = (self._folder / upload.id).glob(f"{PART}*")
        return {path.name: path.stat().st_size for path in there if not path.suffix}  # the others are half

    def add(self, upload: StoredUpload, part: str, content: bytes) -> None:
        """One more part, on disk once this returns. Raises `StorageFull`."""
        write_private(self._folder / upload.id / part, content)

    def join(self, upload: StoredUpload, parts: Sequence[str]) -> str:
        """Make one file of these parts, in this order; its MD5 in hexadecimal. Raises `StorageFull`."""
        folder = self._folder / upload.id
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with (folder / WHOLE).open("wb") as made:
                for part in parts:
                    with (folder / part).open("rb") as file:
                        while piece := file.read(PIECE_BYTES):
                            digest.update(piece)
                            made.write(piece)
                made.flush()
                os.fsync(made.fileno())
        except OSError as error:
            (folder / WHOLE).unlink(missing_ok=True)
            raise StorageFull(f"cannot keep {upload.id} as a whole: {error.strerror}") from error
        return digest.hexdigest()

    def complete(self, upload: StoredUpload, file: StoredFile) -> None:
        """What was joined is this file, and all of it has ended, in one transaction. Raises `StorageFull`."""
        self._files.adopt(file, self._folder / upload.id / WHOLE)
        self._records.put(record_of(KIND, upload), record_of(FILE, file))
        remove_tree(self._folder / upload.id)

    def cancel(self, upload: StoredUpload) -> None:
        """It ends without a file."""
        self._records.put(record_of(KIND, upload))
        remove_tree(self._folder / upload.id)

    def forget(self, upload: StoredUpload) -> None:
        """Nobody asks for it any more."""
        self._records.remove(upload.project, KIND, upload.id)
        self._records.remove("", LIVE, upload.id, upload.project)
        remove_tree(self._folder / upload.id)

    def restore(self) -> Sequence[StoredUpload]:
        """At start: all that there are. What lies in the folder for none that is pending is removed."""
        found = [self._records.find(live.key, KIND, live.name) for live in self._records.all("", LIVE)]
        uploads = [value_of(record, StoredUpload) for record in found if record is not None]
        pending = {one.id for one in uploads if one.state is UploadState.PENDING}
        for folder in self._folder.iterdir():
            if folder.name not in pending:
                remove_tree(folder)
        return uploads
