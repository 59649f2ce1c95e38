"""What the workers of each deployment printed: bounded files, read from the end or as they grow.

FOLDER/<project>/<deployment>.log      lines "2026-11-23T15:00:00.123Z <worker id> text"
FOLDER/<project>/<deployment>.log.1    what was in it before it last turned over
FOLDER/<project>/runs/<run>.log        the lines of one run of a job, which are in its deployment's as well
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, defaultdict
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from lambent.clock import Clock
from lambent.core.spec import NAME
from lambent.storage.logs_file import LogFile, Snapshot, old_file
from lambent.storage.logs_lines import LineJoiner
from lambent.storage.logs_reader import Reader
from lambent.wire.process import RevisionPlan, log_stream_of

FILE_BYTES_MAX: Final = 8 << 20
RUN_FILE_BYTES_MAX: Final = 2 << 20
FILES_OPEN_MAX: Final = 64
# Workers with a line begun. Of one more, the line that has waited longest is ended where it is.
UNFINISHED_MAX: Final = 256
STREAMS_MAX: Final = 10_000  # workers whose part of a log has its proper name
LINES_MAX: Final = 10_000

RUNS: Final = "runs/"
Key = tuple[str, str]  # project and deployment, or `RUNS` and a run in its place


class Source(NamedTuple):
    """Who prints: a worker of a deployment, for a run where it is a job's."""

    key: Key
    worker: str
    run: str

    @property
    def keys(self) -> tuple[Key, ...]:
        """The logs that its lines are in."""
        return (self.key, (self.key[0], RUNS + self.run)) if self.run else (self.key,)


class DeploymentLogs:
    """The logs below a folder; implements `engines.base.LogSink`. Only `follow` is tied to an event loop."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        file_bytes_max: int = FILE_BYTES_MAX,
        run_file_bytes_max: int = RUN_FILE_BYTES_MAX,
    ) -> None:
        self._folder: Final = folder
        self._clock: Final = clock
        self._file_bytes_max: Final = file_bytes_max
        self._run_file_bytes_max: Final = run_file_bytes_max
        self._lock: Final = threading.Lock()
        self._files: Final[OrderedDict[Key, LogFile]] = OrderedDict()
        self._joiners: Final[OrderedDict[Source, LineJoiner]] = OrderedDict()
        self._readers: Final[defaultdict[Key, list[Reader]]] = defaultdict(list)
        self._streams: Final[OrderedDict[tuple[Key, str], str]] = OrderedDict()
        self._said: Final[defaultdict[Key, list[str]]] = defaultdict(list)  # to be written
        self._running: Final[set[Key]] = set()  # logs of runs that go on
        self._second = (0, "")  # as text: most lines are of the same as the one before
        self._lost_lines = 0

    @property
    def lost_lines(self) -> int:
        """How many lines the disk had no room for."""
        return self._lost_lines

    def write(self, plan: RevisionPlan, worker_id: str, chunk: bytes) -> None:
        """Take what a worker printed, in portions of any kind; an empty one says that it will print no more.

        Never waits for a disk, never raises: what finds no room is counted in `lost_lines`.
        """
        source = Source((plan.project, plan.deployment), worker_id, plan.run)
        with self._lock:
            self._name(source, plan)
            joiner = self._joiners.pop(source, None) or LineJoiner()
            self._keep(source, joiner.feed(chunk) if chunk else joiner.end())
            if joiner.has_rest:
                self._joiners[source] = joiner
            if len(self._joiners) > UNFINISHED_MAX:
                oldest, joiner = self._joiners.popitem(last=False)
                self._keep(oldest, joiner.end())

    def say(self, plan: RevisionPlan, worker_id: str, lines: Sequence[str]) -> None:
        """Whole lines of ours among those that a worker printed; they end the one that it has begun.

        They wait in memory for `flush`, or for what is printed next.
        """
        source = Source((plan.project, plan.deployment), worker_id, plan.run)
        with self._lock:
            self._name(source, plan)
            joiner = self._joiners.pop(source, None)
            if joiner is not None:
                self._keep(source, joiner.end())
            self._stamp(source, lines)

    def flush(self) -> None:
        """Write what `say` was given. Never waits for a disk, never raises."""
        with self._lock:
            for key in tuple(self._said):
                self._write_said(key)

    def tail(self, project: str, name: str, lines: int) -> list[str]:
        """The last lines, at most `LINES_MAX`, oldest first, then those that are not finished. Blocks."""
        key = (project, name)
        count = min(lines, LINES_MAX)
        if not _known(key) or count <= 0:
            return []
        with self._lock:
            self._write_said(key)
            snapshot = Snapshot(self._path(key))
            unfinished = [
                self._prefix(source.worker) + joiner.unfinished
                for source, joiner in self._joiners.items()
                if key in source.keys
            ]
        with snapshot:
            return [*snapshot.last_lines(count), *unfinished][-count:]

    def since(self, project: str, name: str, stamp: str = "") -> list[str]:
        """Every finished line that begins with `stamp` or what sorts after it, oldest first. Blocks."""
        key = (project, name)
        if not _known(key):
            return []
        with self._lock:
            self._write_said(key)
            snapshot = Snapshot(self._path(key))
        with snapshot:
            return snapshot.lines_since(stamp)

    def size_bytes(self, project: str, name: str) -> int:
        """What a deployment's log takes on disk."""
        key = (project, name)
        if not _known(key):
            return 0
        with self._lock:
            self._write_said(key)
            snapshot = Snapshot(self._path(key))
        with snapshot:
            return snapshot.size_bytes()

    def streams(self, project: str, name: str) -> dict[str, str]:
        """What AWS's clients call what each worker printed, as far as this server saw them."""
        with self._lock:
            return {worker: name_ for (of, worker), name_ in self._streams.items() if of == (project, name)}

    async def follow(self, project: str, name: str, from_lines: int) -> AsyncGenerator[str, None]:
        """The last `from_lines` lines, then each line when it is printed, until the log ends or is removed.

        A reader that is too slow misses the oldest of what waits for it; a note stands in their place.
        """
        key = (project, name)
        if not _known(key):
            return
        reader = Reader()
        with self._lock:
            self._write_said(key)
            snapshot = Snapshot(self._path(key))
            self._readers[key].append(reader)  # at the same moment: no line is missed, none comes twice
            if key[1].startswith(RUNS) and key not in self._running:
                reader.end()
        try:
            with snapshot:
                earlier = await asyncio.to_thread(snapshot.last_lines, min(from_lines, LINES_MAX))
            for line in earlier:
                yield line
            ended = False
            while not ended:
                await reader.news()
                with self._lock:
                    lines, ended = reader.take(), reader.ended
                for line in lines:
                    yield line
        finally:
            self._forget_reader(key, reader)

    def tail_of_run(self, project: str, run: str, lines: int) -> list[str]:
        """The last lines that a run printed, over all its slices, as `tail` does. Blocks."""
        return self.tail(project, RUNS + run, lines)

    def follow_run(self, project: str, run: str, from_lines: int) -> AsyncGenerator[str, None]:
        """The last lines that a run printed, then each as it comes, as `follow` does, until it has ended."""
        return self.follow(project, RUNS + run, from_lines)

    def remove_run(self, project: str, run: str) -> None:
        """Forget the log of a run, as `remove` does. Blocks."""
        self.remove(project, RUNS + run)

    def remove(self, project: str, name: str) -> None:
        """Forget a deployment's log and end its readers. Harmless where there is none. Blocks."""
        key = (project, name)
        if not _known(key):
            return
        with self._lock:
            self._said.pop(key, None)
            self._close_file(key)
            for source in [source for source in self._joiners if source.key == key]:
                del self._joiners[source]
            for path in (self._path(key), old_file(self._path(key))):
                path.unlink(missing_ok=True)
            for reader in self._readers.get(key, ()):
                reader.end()

    def begin_run(self, project: str, run: str) -> None:
        """A run may print from now on, and who follows its log waits for that."""
        with self._lock:
            self._running.add((project, RUNS + run))

    def end_run(self, project: str, run: str) -> None:
        """It has ended: so do those who follow its log."""
        key = (project, RUNS + run)
        with self._lock:
            self._running.discard(key)
            self._write_said(key)
            self._close_file(key)
            for reader in self._readers.get(key, ()):
                reader.end()

    def close(self) -> None:
        """End every unfinished line, every reader and every file."""
        with self._lock:
            while self._joiners:
                source, joiner = self._joiners.popitem(last=False)
                self._keep(source, joiner.end())
            for key in tuple(self._said):
                self._write_said(key)
            for key in list(self._files):
                self._close_file(key)
        self.end_readers()

    def end_readers(self) -> None:
        """End everybody who follows a log."""
        with self._lock:
            for readers in self._readers.values():
                for reader in readers:
                    reader.end()

    def _name(self, source: Source, plan: RevisionPlan) -> None:
        name = (source.key, source.worker)
        if name not in self._streams and plan.log_stream:
            self._streams[name] = log_stream_of(plan, source.worker)
            if len(self._streams) > STREAMS_MAX:
                self._streams.popitem(last=False)

    def _keep(self, source: Source, lines: Sequence[str]) -> None:
        if not lines:
            return
        self._stamp(source, lines)
        for key in source.keys:
            self._write_said(key)

    def _stamp(self, source: Source, lines: Sequence[str]) -> None:
        """Lines as they will be written, and as those who follow see them at once."""
        prefix = self._prefix(source.worker)
        stamped = [prefix + line for line in lines]
        for key in source.keys:
            self._said[key] += stamped
            for reader in self._readers.get(key, ()):
                reader.put(stamped)

    def _write_said(self, key: Key) -> None:
        lines = self._said.pop(key, None)
        if not lines:
            return
        try:
            self._file(key).append(("\n".join(lines) + "\n").encode())
        except OSError:
            self._lost_lines += len(lines)

    def _prefix(self, worker_id: str) -> str:
        unix_s, ms = divmod(self._clock.unix_ms(), 1000)
        if unix_s != self._second[0]:
            self._second = unix_s, f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%M:%S}"
        return f"{self._second[1]}.{ms:03}Z {worker_id} "

    def _file(self, key: Key) -> LogFile:
        if key not in self._files:
            bytes_max = self._run_file_bytes_max if key[1].startswith(RUNS) else self._file_bytes_max
            self._files[key] = LogFile(self._path(key), size_bytes_max=bytes_max)
        self._files.move_to_end(key)
        if len(self._files) > FILES_OPEN_MAX:
            self._close_file(next(iter(self._files)))
        return self._files[key]

    def _close_file(self, key: Key) -> None:
        file = self._files.pop(key, None)
        if file is not None:
            file.close()

    def _path(self, key: Key) -> Path:
        project, name = key
        return self._folder / project / f"{name}.log"

    def _forget_reader(self, key: Key, reader: Reader) -> None:
        with self._lock:
            self._readers[key].remove(reader)
            if not self._readers[key]:
                del self._readers[key]


def _known(key: Key) -> bool:
    """Whether it can be there: names come from outside, and as a path could lead anywhere."""
    project, name = key
    return all(NAME.fullmatch(part) for part in (project, name.removeprefix(RUNS)))
