"""What is kept of batches of requests: a record of each, its input, and what came of its lines so far.

Methods block. A batch that has not ended has a folder: its input, whatever becomes of the file that it was,
and a journal. A line is in the output once since the output is made from the journal, where each counts once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from lambent.core.errors import StorageBroken, StorageFull
from lambent.storage.artifacts_tree import sync_folder
from lambent.storage.files import KIND as FILE
from lambent.storage.files import Files, remove_tree
from lambent.storage.records import Record, Records, record_of, value_of
from lambent.wire.openai.batches import ERRORS_MAX, LINES_MAX, Batch, Came, Line, Mistake, read_line
from lambent.wire.openai.files import StoredFile
from lambent.wire.typed import from_json

KIND: Final = "openai.batch"
OPEN: Final = "openai.batch.open"  # the names of those that have not ended, of no project
INPUT, JOURNAL, OUTPUT = "input.jsonl", "came.jsonl", "output.jsonl"


class Entry(msgspec.Struct, frozen=True):
    """One line of a journal: what came of the line `number` of the input, which counts from 1."""

    number: int
    came: Came


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at a batch's whole input found."""

    total: int
    mistakes: tuple[Mistake, ...]
    model: str | None


class Journal:
    """What came of a batch's lines. It may be used from several threads."""

    def __init__(self, path: Path) -> None:
        """Take up what is there. What was torn off in the middle is written again."""
        self._path: Final = path
        self._turn: Final = threading.Lock()
        self._size_bytes = 0
        self.numbers: Final[set[int]] = set()
        self.completed = self.failed = self.cut = 0
        if path.exists():
            with path.open("rb") as file:
                for text in file:
                    if not self._take(text):
                        break
            os.truncate(path, self._size_bytes)

    def add(self, entries: Sequence[Entry]) -> None:
        """All of them or none. Those that are there already are left out. Raises `StorageFull`."""
        with self._turn:
            new = [entry for entry in entries if entry.number not in self.numbers]
            text = b"".join(msgspec.json.encode(entry) + b"\n" for entry in new)
            try:
                with self._path.open("ab", buffering=0) as file:
                    while text:
                        text = text[file.write(text) :]
                    self._size_bytes = file.tell()
            except OSError as error:
                if self._path.exists():
                    os.truncate(self._path, self._size_bytes)
                raise StorageFull(f"cannot write {self._path}: {error.strerror}") from error
            for entry in new:
                self._count(entry)

    def write(self, path: Path, *, good: bool) -> int:
        """All good lines, or all others, in the order of the input, as a file on disk. How many bytes."""
        places: list[tuple[int, int, int]] = []
        size_bytes = 0
        try:
            with path.open("wb") as made, self._path.open("ab+") as file:
                file.seek(0)
                for text in file:
                    entry = from_json(text, Entry)
                    if entry.came.is_good is good:
                        places.append((entry.number, size_bytes, len(text)))
                    size_bytes += len(text)
                for _, place, length in sorted(places):
                    file.seek(place)
                    made.write(msgspec.json.encode(from_json(file.read(length), Entry).came) + b"\n")
                made.flush()
                os.fsync(made.fileno())
                return made.tell()
        except OSError as error:
            raise StorageFull(f"cannot write {path}: {error.strerror}") from error

    def _take(self, text: bytes) -> bool:
        try:
            entry = from_json(text, Entry) if text.endswith(b"\n") else None
        except msgspec.DecodeError:
            entry = None
        if entry is None:
            return False
        self._size_bytes += len(text)
        self._count(entry)
        return True

    def _count(self, entry: Entry) -> None:
        self.numbers.add(entry.number)
        self.completed += entry.came.is_good
        self.failed += not entry.came.is_good
        self.cut += entry.came.error is not None and entry.came.error.code == "batch_expired"


class BatchStore:
    """The batches of every project."""

    def __init__(self, records: Records, files: Files, folder: Path) -> None:
        self._records: Final = records
        self._files: Final = files
        self._folder: Final = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def begin(self, batch: Batch, source: StoredFile) -> None:
        """A new one, on disk once this returns. Raises `StorageFull`."""
        folder = self._folder / batch.id
        try:
            folder.mkdir(mode=0o700)
            os.link(self._files.path(source), folder / INPUT)
            sync_folder(folder)
            sync_folder(self._folder)
        except OSError as error:
            remove_tree(folder)
            raise StorageFull(f"cannot keep {batch.id}: {error.strerror}") from error
        self._records.put(
            record_of(KIND, batch), Record(project="", kind=OPEN, name=batch.id, key=batch.project)
        )

    def put(self, batch: Batch) -> None:
        """Replace by id."""
        self._records.put(record_of(KIND, batch))

    def find(self, project: str, batch: str) -> Batch | None:
        """One of them."""
        record = self._records.find(project, KIND, batch)
        return None if record is None else value_of(record, Batch)

    def all(self, project: str) -> Sequence[Batch]:
        """Newest first."""
        found = [value_of(record, Batch) for record in self._records.all(project, KIND)]
        return sorted(found, key=lambda one: (one.created_unix_ms, one.id), reverse=True)

    def unfinished(self) -> Sequence[Batch]:
        """At start: those that have not ended. What lies in the folder for no batch is removed."""
        self._files.sweep()
        records = self._records.all("", OPEN)
        known = {record.name for record in records}
        for folder in self._folder.iterdir():
            if folder.name not in known:
                remove_tree(folder)
        return [one for record in records if (one := self.find(record.key, record.name)) is not None]

    def check(self, batch: Batch) -> Checked:
        """Look at every line of the input."""
        mistakes: list[Mistake] = []
        names: set[str] = set()
        total, model = 0, None
        for number, text in self.lines(batch):
            total += 1
            line = read_line(text, batch.endpoint, number)
            if isinstance(line, Line) and line.custom_id in names:
                message = f"The custom_id '{line.custom_id[:80]}' for this request is not unique."
                line = Mistake(code="duplicate_custom_id", message=message, line=number, param="custom_id")
            if isinstance(line, Mistake):
                mistakes.append(line)
                if len(mistakes) == ERRORS_MAX:
                    break
                continue
            names.add(line.custom_id)
            model = model or from_json(line.body, dict).get("model")
            if total > LINES_MAX:
                message = f"The file has more than {LINES_MAX} requests."
                mistakes = [Mistake(code="too_many_requests", message=message)]
                break
        if not total:
            mistakes = [Mistake(code="empty_file", message="The file has no requests.")]
        return Checked(total=total, mistakes=tuple(mistakes), model=model)

    def lines(self, batch: Batch) -> Iterator[tuple[int, bytes]]:
        """The lines of the input that are not empty, with their numbers from 1."""
        try:
            with (self._folder / batch.id / INPUT).open("rb") as file:
                for number, text in enumerate(file, 1):
                    if text.strip():
                        yield number, text
        except OSError as error:
            raise StorageBroken(f"the input of {batch.id} cannot be read: {error.strerror}") from error

    def journal(self, batch: Batch) -> Journal:
        """What came of it so far."""
        return Journal(self._folder / batch.id / JOURNAL)

    def make(self, batch: Batch, journal: Journal, file: StoredFile, *, good: bool) -> StoredFile | None:
        """A file of its good lines or of the others; None where it has none. Raises `StorageFull`."""
        made = self._folder / batch.id / OUTPUT
        size_bytes = journal.write(made, good=good)
        if not size_bytes:
            return None
        self._files.adopt(file, made)
        return msgspec.structs.replace(file, size_bytes=size_bytes)

    def end(self, batch: Batch, files: Sequence[StoredFile]) -> None:
        """It has come to its end, with these files: in one transaction."""
        self._records.put(record_of(KIND, batch), *(record_of(FILE, one) for one in files))
        self._records.remove("", OPEN, batch.id, batch.project)
        remove_tree(self._folder / batch.id)
