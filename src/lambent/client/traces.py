"""Reads traces of invocations from CSV files, gzip'd or not, and from usage journals, for the simulator.

Three forms of CSV, told apart by their header:

* a day of Azure Functions 2019 (Shahrad et al., ATC'20): one line a function with its calls in each minute,
  `HashOwner,HashApp,HashFunction[,Trigger],1,2,…` or `…,minute_1,minute_2,…`; memory from a file of the same
  set, `HashApp,…,AverageAllocatedMb`;
* Azure Functions 2021 (Zhang et al., SOSP'21): `app,func,end_timestamp,duration`, seconds;
* one's own: `deployment,timestamp,duration[,memory_bytes]`, where the timestamp is when the call began, in
  seconds or in ISO form, and the duration is in seconds.

A usage journal is a server's state directory, the `usage` in it, or a segment of that: `*.usage`.
"""

from __future__ import annotations

import csv
import gzip
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from lambent.core.errors import CallerFault
from lambent.core.simulation import Trace, TraceRevision
from lambent.core.spec import Kind
from lambent.wire.typed import unpacker
from lambent.wire.usage import MAGIC, Entry, UsageRecord, frames

MIB: Final = 2**20
MINUTE_S: Final = 60.0
MEMORY_BYTES: Final = 170 * MIB  # where none is told: the median of ATC'20, figure 8
TICKS_MAX: Final = 10_000_000
FIELD_CHARS_MAX: Final = 2**20
JOURNAL: Final = ".usage"

Lines = Iterator[list[str]]


def read_trace(file: Path, memory: Path | None = None) -> Trace:
    """The trace in `file`, or in the folder of a usage journal. Raises `CallerFault` that names the place.

    Without `memory`, a file beside it whose name has `_mem` where its own has `_inv` is used if it is there.
    """
    try:
        if file.is_dir() or file.suffix == JOURNAL:
            return _journal(file)
        with _opened(file) as lines:
            header = next(lines, [])
            read = _reader(file, header)
            return read(file, header, lines, _memory(memory or _beside(file)))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise CallerFault(f"cannot read {file}: {error}") from error


@contextmanager
def _opened(file: Path) -> Iterator[Lines]:
    """A CSV file as its lines."""
    csv.field_size_limit(FIELD_CHARS_MAX)
    unzip = gzip.open if file.name.endswith(".gz") else open
    with unzip(file, "rt", encoding="utf-8", newline="") as text:
        yield csv.reader(text)


_Reader = Callable[[Path, Sequence[str], Lines, Mapping[str, int]], Trace]


def _reader(file: Path, header: Sequence[str]) -> _Reader:
    names = set(header)
    if {"HashApp", "HashFunction"} <= names and header[-1].removeprefix("minute_").isdecimal():
        return _minutes
    if {"app", "func", "end_timestamp", "duration"} <= names:
        return _single_calls_2021
    if {"deployment", "timestamp"} <= names:
        return _own_calls
    raise CallerFault(
        f"{file} is no trace that is known: its header has neither HashApp, HashFunction and minutes, nor "
        "app, func, end_timestamp and duration, nor deployment, timestamp and duration"
    )


def _beside(file: Path) -> Path | None:
    other = file.with_name(file.name.replace("_inv", "_mem"))
    return other if other != file and other.exists() else None


def _memory(file: Path | None) -> Mapping[str, int]:
    """Bytes by app."""
    if file is None:
        return {}
    with _opened(file) as lines:
        header = next(lines, [])
        if not {"HashApp", "AverageAllocatedMb"} <= set(header):
            raise CallerFault(f"{file} tells no memory: its header lacks HashApp or AverageAllocatedMb")
        app, column = header.index("HashApp"), header.index("AverageAllocatedMb")
        return {
            line[app]: max(1, int(_number(file, number, line, column) * MIB))
            for number, line in enumerate(lines, 2)
        }


def _minutes(file: Path, header: Sequence[str], lines: Lines, memory: Mapping[str, int]) -> Trace:
    app, function = header.index("HashApp"), header.index("HashFunction")
    columns = [column for column, name in enumerate(header) if name.removeprefix("minute_").isdecimal()]
    revisions: list[TraceRevision] = []
    found: list[tuple[int, int, int]] = []
    for number, line in enumerate(lines, 2):
        for minute, column in enumerate(columns):
            if column >= len(line):
                _wrong(file, number, f"has {len(line)} fields and not {len(header)}")
            if line[column] not in {"0", ""}:
                calls = int(_number(file, number, line, column))
                found.append((minute, len(revisions), calls))
        held = memory.get(line[app], MEMORY_BYTES)
        revisions.append(TraceRevision(name=line[function], app=line[app], memory_bytes=held))
    return _trace(file, MINUTE_S, len(columns), revisions, found)


def _single_calls_2021(file: Path, header: Sequence[str], lines: Lines, memory: Mapping[str, int]) -> Trace:
    app, function = header.index("app"), header.index("func")
    end, duration = header.index("end_timestamp"), header.index("duration")
    calls = _Calls()
    for number, line in enumerate(lines, 2):
        started_s = _number(file, number, line, end) - _number(file, number, line, duration)
        calls.add(f"{line[app]}/{line[function]}", line[app], started_s, memory.get(line[app], MEMORY_BYTES))
    return calls.trace(file)


def _own_calls(file: Path, header: Sequence[str], lines: Lines, memory: Mapping[str, int]) -> Trace:
    name, moment = header.index("deployment"), header.index("timestamp")
    size = header.index("memory_bytes") if "memory_bytes" in header else None
    calls = _Calls()
    for number, line in enumerate(lines, 2):
        started_s = _moment_s(file, number, line, moment)
        held = memory.get(line[name], MEMORY_BYTES) if size is None else _number(file, number, line, size)
        calls.add(line[name], line[name], started_s, max(1, int(held)))
    return calls.trace(file)


def _journal(place: Path) -> Trace:
    """The invocations of a journal; runs of jobs wake nothing that is kept."""
    folder = place / "usage" if (place / "usage").is_dir() else place
    files = sorted(folder.glob(f"*{JOURNAL}")) if folder.is_dir() else [place]
    if not files:
        raise CallerFault(f"{place} holds no usage journal: no *{JOURNAL}")
    calls = _Calls()
    for record in _records(files):
        if record.kind is not Kind.JOB:
            name = f"{record.project}/{record.deployment}"
            held = record.memory_used_bytes or record.memory_bytes
            calls.add(name, name, record.started_unix_ms / 1e3, held)
    return calls.trace(place)


def _records(files: Sequence[Path]) -> Iterator[UsageRecord]:
    """All that can be read: what a crash tore is left out, as in a statement."""
    decoder: msgspec.msgpack.Decoder[Entry] = unpacker(Entry)
    for file in files:
        content = file.read_bytes()
        if content and not content.startswith(MAGIC):
            raise CallerFault(f"{file} is no segment of a usage journal")
        for frame in frames(content, len(MAGIC)):
            try:
                entry = decoder.decode(frame.payload)
            except msgspec.DecodeError:
                continue
            if isinstance(entry, UsageRecord):
                yield entry


class _Calls:
    """Single calls, of which those in one second are one tick."""

    def __init__(self) -> None:
        self._revisions: dict[str, int] = {}
        self._described: list[TraceRevision] = []
        self._calls: dict[tuple[int, int], int] = {}

    def add(self, name: str, app: str, started_s: float, memory_bytes: int) -> None:
        if name not in self._revisions:
            self._revisions[name] = len(self._described)
            self._described.append(TraceRevision(name=name, app=app, memory_bytes=memory_bytes))
        key = int(started_s // 1), self._revisions[name]
        self._calls[key] = self._calls.get(key, 0) + 1

    def trace(self, file: Path) -> Trace:
        begin = min((tick for tick, _ in self._calls), default=0)
        found = [(tick - begin, revision, calls) for (tick, revision), calls in self._calls.items()]
        ticks = 1 + max((tick for tick, _, _ in found), default=0)
        return _trace(file, 1.0, ticks, self._described, found)


def _trace(
    file: Path,
    resolution_s: float,
    ticks: int,
    revisions: Sequence[TraceRevision],
    found: list[tuple[int, int, int]],
) -> Trace:
    if not found:
        raise CallerFault(f"{file} has no invocation")
    if ticks > TICKS_MAX:
        raise CallerFault(
            f"{file} spans {ticks} ticks of {resolution_s:g} s; at most {TICKS_MAX} are simulated"
        )
    found.sort()
    return Trace(
        name=file.name,
        resolution_s=resolution_s,
        ticks=ticks,
        revisions=tuple(revisions),
        tick=array("l", [tick for tick, _, _ in found]),
        revision=array("l", [revision for _, revision, _ in found]),
        calls=array("l", [calls for _, _, calls in found]),
    )


def _number(file: Path, number: int, line: Sequence[str], column: int) -> float:
    try:
        value = float(line[column])
    except (ValueError, IndexError):
        value = -1.0
    if not 0 <= value < 1e15:
        shown = line[column] if column < len(line) else ""
        _wrong(file, number, f"has {shown!r} where a number of at least 0 belongs")
    return value


def _moment_s(file: Path, number: int, line: Sequence[str], column: int) -> float:
    text = line[column] if column < len(line) else ""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return _number(file, number, line, column)


def _wrong(file: Path, number: int, what: str) -> NoReturn:
    raise CallerFault(f"{file}: line {number} {what}")
