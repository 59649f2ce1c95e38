"""A worker's side of the arena: states are copied into slots, and read from them."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from lambent.core.errors import StorageBroken
from lambent.runtimes.states import pack, unpack
from lambent.wire import arena
from lambent.wire.arena import Commit, Patch

BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
MEMORY: Final = Path("/proc/meminfo")
# A slot that grows gets this much more than it needs: a state that grows does so again.
GROWS_BY: Final = 1.25
ROUND_TO_BYTES: Final = 1 << 16
# What is left of the machine's memory when a slot in memory has its room.
LEFT_SHARE: Final = 0.25
MADV_POPULATE_WRITE: Final = 23


def make_arena(folder: Path) -> None:
    """A folder that holds no commits, for its owner alone; whoever opens it sees it whole or not at all."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = folder / f"{arena.HEAD}.new"
    unfinished.write_bytes(arena.fresh_head(boot()))
    unfinished.replace(folder / arena.HEAD)


def boot() -> str:
    """The id of the machine's boot: what was in memory before another one is gone."""
    return BOOT.read_text().strip()


class Slots:
    """An arena that this process alone writes to."""

    def __init__(self, folder: Path) -> None:
        """Raises `OSError` where there is none, `StorageBroken` where it is none."""
        self._folder: Final = folder
        with (folder / arena.HEAD).open("r+b") as file:
            if os.fstat(file.fileno()).st_size < arena.HEAD_BYTES:
                raise StorageBroken("the run's arena has no head that can be read")
            self._head: Final = memoryview(mmap.mmap(file.fileno(), arena.HEAD_BYTES))
        arena.check_head(self._head)
        self._open: Final[dict[tuple[int, int], mmap.mmap]] = {}

    def is_asked(self) -> bool:
        """Whether the server wants this worker to commit and leave."""
        return arena.is_asked(self._head)

    def commits(self) -> Sequence[Commit]:
        """The states that are whole, the newest first."""
        return arena.commits(self._head)

    def commit(self, state: object, *, step: int, unix_ms: int) -> Commit:
        """Make this the newest state. Raises `OSError` where there is no room, and what pickling raises.

        It is copied as it is now. Whatever ends the process meanwhile, what was the newest stays whole.
        """
        packed = pack(state)
        newest = next(iter(self.commits()), None)
        slot = arena.next_slot(self._head)
        spilled, target = self._room(slot, packed.size_bytes)
        self._write(arena.void(slot))
        with memoryview(target) as memory:
            packed.copy_to(memory)
        commit = Commit(
            seq=newest.seq + 1 if newest else 1,
            slot=slot,
            size_bytes=packed.size_bytes,
            step=step,
            unix_ms=unix_ms,
            spilled=spilled,
        )
        self._write(arena.record(commit))
        return commit

    def read(self, commit: Commit) -> Any:
        """A state, in memory of its own. Raises `OSError`, `StateBroken` and what unpickling raises."""
        path = self._path(commit.slot, commit.spilled)
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            lies = mmap.mmap(descriptor, commit.size_bytes)
        finally:
            os.close(descriptor)
        return unpack(memoryview(lies))

    def discard(self, commit: Commit) -> None:
        """Forget a commit that cannot be read, so that those before it are not overwritten for its sake."""
        self._write(arena.void(commit.slot))

    def _write(self, patch: Patch) -> None:
        self._head[patch.at : patch.at + len(patch.content)] = patch.content

    def _path(self, slot: int, spilled: int) -> Path:
        folder = self._folder / arena.SPILL if spilled else self._folder
        return folder / arena.slot_name(slot)

    def _room(self, slot: int, size_bytes: int) -> tuple[int, mmap.mmap]:
        """A mapping of the slot that is large enough: in memory, or where that has no room, on disk."""
        try:
            return 0, self._mapped(slot, 0, size_bytes)
        except OSError:
            if not (self._folder / arena.SPILL).is_dir():
                raise
        self._let_go(slot, 0)
        return 1, self._mapped(slot, 1, size_bytes)

    def _mapped(self, slot: int, spilled: int, size_bytes: int) -> mmap.mmap:
        there = self._open.get((slot, spilled))
        if there is not None and len(there) >= size_bytes:
            return there
        path = self._path(slot, spilled)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            had = os.fstat(descriptor).st_size
            wanted = size_bytes if there is None else int(size_bytes * GROWS_BY)
            wanted = max(had, -(-wanted // ROUND_TO_BYTES) * ROUND_TO_BYTES)
            _allocate(descriptor, had, wanted, in_memory=0 if spilled else wanted - had)
            mapped = mmap.mmap(descriptor, wanted)
        finally:
            os.close(descriptor)
        with suppress(OSError):  # an older kernel: the pages come when they are written to
            mapped.madvise(MADV_POPULATE_WRITE)
        self._open[slot, spilled] = mapped
        return mapped

    def _let_go(self, slot: int, spilled: int) -> None:
        """Give back the memory of a slot that is not used any more, nor is its record."""
        self._write(arena.void(slot))
        self._open.pop((slot, spilled), None)
        self._path(slot, spilled).unlink(missing_ok=True)


def _allocate(descriptor: int, had: int, wanted: int, *, in_memory: int) -> None:
    """Give a file its room. A file with holes would end the process when it writes into one that stays."""
    if wanted <= had:
        return
    if in_memory > (1 - LEFT_SHARE) * _memory_left_bytes():
        raise OSError(errno.ENOMEM, f"{in_memory} bytes are most of what memory is left")
    try:
        os.posix_fallocate(descriptor, had, wanted - had)
    except OSError:
        os.ftruncate(descriptor, had)
        raise


def _memory_left_bytes() -> int:
    for line in MEMORY.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 1 << 62
