"""The arenas of runs, as the server keeps them: made, asked, read, flushed to disk, restored from there."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import stat
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.checkpointing import KEPT
from lambent.core.errors import StorageBroken, StorageFull
from lambent.storage.states import CHUNK_BYTES, State, StateFiles
from lambent.wire import arena
from lambent.wire.arena import Commit, Patch

MEMORY: Final = Path("/dev/shm")
BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
STATES_DIR: Final = "checkpoints"
ON_DISK_DIR: Final = "arena"
# Less free memory than this, and arenas are folders on disk: the kernel writes those when it likes.
MEMORY_BYTES_MIN: Final = 64 << 20
READS_MAX: Final = 5
PREFIX: Final = "lambent"
LOCK: Final = "lock"

log = logging.getLogger(__name__)


class Flushed(msgspec.Struct, frozen=True, kw_only=True):
    """A state that is on disk now, and how long that took."""

    step: int
    size_bytes: int
    took_s: float


class Arena:
    """One run's arena, which its worker writes to. The server maps none of it: a worker may cut files off."""

    def __init__(self, folder: Path, spill: Path) -> None:
        self.folder: Final = folder
        self.spill: Final = spill
        self.turn: Final = threading.Lock()  # one reader at a time, because there is one pin

    def make(self, boot: str) -> None:
        """Make it, without any commit. Raises `OSError`."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700, parents=True)
        self.spill.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / arena.SPILL).symlink_to(self.spill)
        unfinished = self.folder / f"{arena.HEAD}.new"
        unfinished.write_bytes(arena.fresh_head(boot))
        unfinished.replace(self.folder / arena.HEAD)

    def is_of(self, boot: str) -> bool:
        """Whether it is there, made since the machine started."""
        try:
            return arena.is_of_boot(self._head(), boot)
        except StorageBroken:
            return False

    def ask_to_yield(self) -> None:
        """Let the worker end its slice with its next commit."""
        self._patch(arena.asking(to_yield=True))

    def take_back(self) -> None:
        """Nobody is asked to yield, and nothing is read: what was said to a worker that is gone."""
        self._patch(arena.asking(to_yield=False))
        self._patch(arena.pinning(None))

    def committed(self) -> Commit | None:
        """The newest state, None where there is none yet, or no arena any more."""
        try:
            return next(iter(arena.commits(self._head())), None)
        except StorageBroken:
            return None

    def put(self, state: State, *, spilled: int) -> None:
        """Say that the file of slot 0 holds this state."""
        commit = Commit(
            seq=state.seq,
            slot=0,
            size_bytes=state.size_bytes,
            step=state.step,
            unix_ms=state.unix_ms,
            spilled=spilled,
        )
        self._patch(arena.record(commit))

    @contextmanager
    def reading(self) -> Iterator[tuple[Commit, Iterator[bytes]] | None]:
        """The newest state with its bytes, in pieces; None where there is none.

        Its worker writes elsewhere meanwhile. Raises `StorageBroken` where it cannot be read.
        """
        with self.turn:
            try:
                commit = self._pin()
                yield None if commit is None else (commit, self._pieces(commit))
            finally:
                self._patch(arena.pinning(None))

    def _pin(self) -> Commit | None:
        for _ in range(READS_MAX):
            commit = self.committed()
            if commit is None:
                return None
            self._patch(arena.pinning(commit.slot))
            # The worker chooses a slot when it begins to commit: if this is still the newest, it will not
            # choose this one before it is let go.
            if self.committed() == commit:
                return commit
        raise StorageBroken("the run commits faster than its state can be looked at")

    def _pieces(self, commit: Commit) -> Iterator[bytes]:
        folder = self.spill if commit.spilled else self.folder
        try:
            descriptor = _opened(folder / arena.slot_name(commit.slot))
        except OSError as error:
            raise StorageBroken(f"the state of step {commit.step} is gone: {error.strerror}") from error
        try:
            at = 0
            while at < commit.size_bytes:
                piece = os.pread(descriptor, min(CHUNK_BYTES, commit.size_bytes - at), at)
                if not piece:
                    raise StorageBroken(f"the state of step {commit.step} is cut off")
                at += len(piece)
                yield piece
        finally:
            os.close(descriptor)
        if commit not in arena.commits(self._head()):
            raise StorageBroken(f"the state of step {commit.step} was written to while it was read")

    def _head(self) -> bytes:
        try:
            descriptor = _opened(self.folder / arena.HEAD)
        except OSError as error:
            raise StorageBroken(f"the run's arena is gone: {error.strerror}") from error
        try:
            head = os.pread(descriptor, arena.HEAD_BYTES, 0)
        finally:
            os.close(descriptor)
        arena.check_head(head)
        return head

    def _patch(self, patch: Patch) -> None:
        """Change the head; where there is none any more, there is nobody to tell."""
        with suppress(OSError):
            descriptor = os.open(self.folder / arena.HEAD, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.pwrite(descriptor, patch.content, patch.at)
            finally:
                os.close(descriptor)


class Arenas:
    """The arenas of all runs of this server. All of it blocks; runs may be asked for from many threads."""

    def __init__(
        self, state_dir: Path, runs_dir: Path, clock: Clock, *, keep: int = KEPT, memory: Path = MEMORY
    ) -> None:
        """`runs_dir` has a folder for each run, and `memory` is a file system in memory."""
        self._runs_dir: Final = runs_dir
        self._memory: Final = memory
        self._state_dir: Final = state_dir
        self._root: Final = memory / _root_name(state_dir)
        self._clock: Final = clock
        self._keep: Final = keep
        self._boot: Final = BOOT.read_text().strip()
        self._open: Final[dict[str, Arena]] = {}
        self._root_lock: int | None = None
        self._turn: Final = threading.Lock()

    def open(self, run: str) -> Arena:
        """The run's arena, made where there is none. Raises `StorageFull`."""
        with self._turn:
            there = self._open.get(run) or self._found(run)
            if there is None:
                there = self._made(run)
            self._open[run] = there
            return there

    def restore(self, run: str) -> Arena:
        """The run's arena with the newest state that there is: its own, else the newest whole one on disk.

        Raises `StorageFull`.
        """
        there = self.open(run)
        there.take_back()
        if there.committed() is None:
            self._fill(there, self.files(run))
        return there

    def _fill(self, there: Arena, files: StateFiles) -> None:
        for spilled, folder in enumerate((there.folder, there.spill)):
            target = folder / arena.slot_name(0)
            try:
                state = files.copy_newest(target)
            except StorageFull:
                target.unlink(missing_ok=True)
                if spilled:
                    raise
            else:
                if state is not None:
                    there.put(state, spilled=spilled)
                return

    def flush(self, run: str) -> Flushed | None:
        """Bring the run's newest state to disk; None where it is there already, or there is none.

        Raises `StorageFull`, and `StorageBroken` where the worker has spoilt its arena.
        """
        there = self._open.get(run) or self._found(run)
        if there is None:
            return None
        started_s, files = self._clock.now_s(), self.files(run)
        with there.reading() as found:
            if found is None:
                return None
            commit, pieces = found
            if any(kept.seq >= commit.seq for kept in files.kept()):
                return None
            state = State(
                seq=commit.seq, step=commit.step, unix_ms=commit.unix_ms, size_bytes=commit.size_bytes
            )
            files.write(state, pieces)
        files.prune(self._keep)
        took_s = self._clock.now_s() - started_s
        return Flushed(step=state.step, size_bytes=state.size_bytes, took_s=took_s)

    def files(self, run: str) -> StateFiles:
        """The run's states on disk."""
        return StateFiles(self._runs_dir / run / STATES_DIR)

    def close(self, run: str) -> None:
        """Give the arena's memory back. What was flushed stays, and can be restored."""
        with self._turn:
            self._open.pop(run, None)
        shutil.rmtree(self._root / run, ignore_errors=True)
        for name in (ON_DISK_DIR, arena.SPILL):
            shutil.rmtree(self._runs_dir / run / name, ignore_errors=True)
        if not self._open:
            self._leave()

    def sweep(self, live: Collection[str]) -> Sequence[str]:
        """Remove the arenas of runs that are gone, and those of servers whose state directory is.

        Returns the runs whose arena was removed.
        """
        there = [path.name for path in self._root.iterdir()] if self._root.is_dir() else []
        gone = [run for run in there if run not in live and (self._root / run).is_dir()]
        for run in gone:
            self.close(run)
        for root in self._memory.glob(f"{PREFIX}-{os.getuid()}-*"):
            if root != self._root and _is_private(root) and _is_abandoned(root):
                shutil.rmtree(root, ignore_errors=True)
        return gone

    def end(self) -> None:
        """This server ends; what is in memory stays for the next one."""
        with self._turn:
            self._let_go()

    def _found(self, run: str) -> Arena | None:
        # What anybody could have put there is not read: a state is code to whoever unpickles it.
        in_memory = [self._root / run] if _is_private(self._root) else []
        for folder in (*in_memory, self._runs_dir / run / ON_DISK_DIR):
            there = self._arena(run, folder)
            if there.is_of(self._boot):
                return there
        return None

    def _made(self, run: str) -> Arena:
        there = self._arena(run, self._runs_dir / run / ON_DISK_DIR)
        try:
            if self._has_room():
                there = self._arena(run, self._root / run)
            there.make(self._boot)
        except OSError as error:
            raise StorageFull(f"the run's arena cannot be made: {error.strerror}") from error
        return there

    def _arena(self, run: str, folder: Path) -> Arena:
        return Arena(folder, self._runs_dir / run / arena.SPILL)

    def _has_room(self) -> bool:
        """Whether there is memory to be had, in a folder that is ours alone."""
        try:
            free = os.statvfs(self._memory)
            if free.f_bavail * free.f_frsize < MEMORY_BYTES_MIN:
                return False
            self._root.mkdir(mode=0o700, exist_ok=True)
            if not _is_private(self._root):
                return False
            if self._root_lock is None:
                self._root_lock = _locked(self._root, self._state_dir)
        except OSError:
            return False
        return True

    def _leave(self) -> None:
        """Remove the folder of all arenas, if that is empty."""
        with self._turn:
            if self._open:
                return
            lock = self._root / LOCK
            with suppress(OSError):
                if [path.name for path in self._root.iterdir()] in ([LOCK], []):
                    lock.unlink(missing_ok=True)
                    self._root.rmdir()
            self._let_go()

    def _let_go(self) -> None:
        if self._root_lock is not None:
            os.close(self._root_lock)
            self._root_lock = None


def _is_private(folder: Path) -> bool:
    """Whether it is a folder of ours that nobody else may look into."""
    try:
        about = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and not about.st_mode & 0o077 and about.st_uid == os.getuid()


def _locked(root: Path, owner: Path) -> int:
    """Hold the folder for this server, and say whose it is. Raises `OSError` where another has it."""
    descriptor = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, os.fsencode(owner), 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _is_abandoned(root: Path) -> bool:
    """Whether no server holds it, and the state directory that it belongs to is not there any more."""
    try:
        descriptor = os.open(root / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False  # nobody can tell whose it is
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        owner = Path(os.fsdecode(os.pread(descriptor, 4096, 0)))
        return not owner.is_dir() or root.name != _root_name(owner)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _root_name(state_dir: Path) -> str:
    """The same for as long as the state directory is the same, wherever a container has it."""
    about = state_dir.stat()
    named = f"{state_dir.resolve()} {about.st_dev} {about.st_ino}"
    return f"{PREFIX}-{os.getuid()}-{hashlib.sha256(named.encode()).hexdigest()[:16]}"


def _opened(path: Path) -> int:
    """A regular file, whatever user code has put in its place. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file")
    return descriptor
