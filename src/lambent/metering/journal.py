"""The usage journal: each record is in the file when `append` returns, and on the disk 50 ms later.

So a killed server loses nothing that was acknowledged, and a power cut at most the last moment. Records are
written by the event loop, a few microseconds each; waiting for the disk is a thread's work. A disk without
room holds nobody up: records wait in memory, up to a bound, and `health` says so.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections import deque
from pathlib import Path
from typing import Final

import msgspec

from lambent.core.errors import PlatformFault
from lambent.metering.segment import framed
from lambent.metering.segment_writer import SegmentWriter
from lambent.wire.usage import Entry, Torn, UsageRecord

__all__ = ["Entry", "Journal", "JournalHealth", "Torn", "UsageRecord"]

SYNC_EVERY_S: Final = 0.05
RETRY_EVERY_S: Final = 1.0
SEGMENT_BYTES_MAX: Final = 8 << 20
HELD_BYTES_MAX: Final = 4 << 20


class JournalHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How the journal is. `error` is what the disk last said, empty while all is well.

    `held_records` wait in memory for the disk, `lost_records` found no place there either. `torn_bytes` were
    cut off the end of the last segment when the journal was opened.
    """

    error: str
    held_records: int
    lost_records: int
    torn_bytes: int


class Journal:
    """Appends to the segments of a folder; one process at a time. Open with `Journal.open`, close once."""

    def __init__(self, folder: int, writer: SegmentWriter, *, torn_bytes: int, sync_every_s: float) -> None:
        self._folder: Final = folder
        self._writer: Final = writer
        self._torn_bytes: Final = torn_bytes
        self._sync_every_s: Final = sync_every_s
        self._encode: Final = msgspec.msgpack.Encoder().encode
        self._writing: Final = threading.Lock()
        self._syncing: Final = threading.Lock()
        self._wake: Final = threading.Event()
        self._closing: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._keep_syncing, name="usage-journal", daemon=True)
        self._unsynced = False
        self._closed = False
        self._synced_number = 0
        self._held: Final[deque[bytes]] = deque()
        self._held_bytes = 0
        self._lost_records = 0
        self._error = ""

    @classmethod
    def open(
        cls, folder: Path, *, segment_bytes_max: int = SEGMENT_BYTES_MAX, sync_every_s: float = SYNC_EVERY_S
    ) -> Journal:
        """Go on where the journal in `folder` ends. A torn end is cut off, noted in its place and reported.

        Raises `PlatformFault` where another process has it open. A disk without room is no reason to fail.
        """
        folder.mkdir(parents=True, exist_ok=True)
        locked = _locked(folder)
        writer = SegmentWriter(folder, segment_bytes_max=segment_bytes_max)
        torn_bytes = writer.resume(
            lambda size_bytes: framed(msgspec.msgpack.encode(Torn(size_bytes=size_bytes)))
        )
        journal = cls(locked, writer, torn_bytes=torn_bytes, sync_every_s=sync_every_s)
        journal._thread.start()
        return journal

    def append(self, record: UsageRecord) -> None:
        """Write a record to the file. Never waits, never raises: what fails shows in `health`."""
        try:
            frame = framed(self._encode(record))
        except ValueError as error:
            self._lost_records += 1
            self._error = str(error)
            return
        with self._writing:
            # Behind what is held, so that the order stays.
            if self._held or not self._written(frame):
                self._hold(frame)
            news, self._unsynced = not self._unsynced, True
        if news:
            self._wake.set()

    def sync(self) -> None:
        """Bring everything appended so far to the disk; blocks. What fails shows in `health`."""
        with self._syncing:
            with self._writing:
                self._unsynced = False
                self._write_held()
                retired, current = self._writer.open_files()
                number = self._writer.number
            try:
                for file in retired:
                    os.fdatasync(file)
                if current is not None:
                    os.fdatasync(current)
                self._sync_names(number)
                if not self._held:
                    self._error = ""
            except OSError as error:
                self._error = f"usage could not be brought to the disk: {error.strerror}"
            finally:
                for file in retired:
                    os.close(file)

    def health(self) -> JournalHealth:
        """How the journal is now."""
        return JournalHealth(
            error=self._error,
            held_records=len(self._held),
            lost_records=self._lost_records,
            torn_bytes=self._torn_bytes,
        )

    def close(self) -> None:
        """Bring everything to the disk and let the folder go. What is appended later is held and lost."""
        self._closing.set()
        self._wake.set()
        self._thread.join()
        self.sync()
        with self._writing:
            self._closed = True
            self._writer.close()
        os.close(self._folder)

    def _keep_syncing(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(RETRY_EVERY_S if self._held else None)
            self._closing.wait(self._sync_every_s)  # a group gathers
            self._wake.clear()
            self.sync()

    def _sync_names(self, number: int) -> None:
        if number != self._synced_number:
            os.fsync(self._folder)
            self._synced_number = number

    def _written(self, frame: bytes) -> bool:
        if self._closed:
            self._error = "the journal is closed"
            return False
        try:
            self._writer.write(frame)
        except OSError as error:
            self._error = f"usage could not be written: {error.strerror}"
            return False
        return True

    def _hold(self, frame: bytes) -> None:
        if self._held_bytes + len(frame) > HELD_BYTES_MAX:
            self._lost_records += 1
            return
        self._held.append(frame)
        self._held_bytes += len(frame)

    def _write_held(self) -> None:
        while self._held and self._written(self._held[0]):
            self._held_bytes -= len(self._held.popleft())


def _locked(folder: Path) -> int:
    """A descriptor of the folder that keeps other processes out while it is open."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise PlatformFault(
            f"the usage journal in {folder} is open already: is another server running?"
        ) from error
    return descriptor
