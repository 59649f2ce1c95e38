"""What happened, as values: what clients saw, user code noted, and was metered; what was done to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from lambent.metering.journal import Entry, UsageRecord
from lambent.metering.segment import MAGIC, frames, segments_in
from tests.support.chaos.plan import Kind


class End(StrEnum):
    """How a call ended for its client."""

    ANSWERED = "answered"
    CLOSED = "its connection closed"
    LEFT = "its client left"
    HUNG = "nothing came"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One sync call. Seconds are monotonic. `billed_ms` is None where the answer does not tell it."""

    number: int
    deployment: str
    sent_s: float
    over_s: float
    end: End
    status: int = 0
    invocation: str = ""
    billed_ms: int | None = None
    code: str = ""
    wrong: str = ""  # what was wrong with the answer itself


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """One async call that the server said yes to."""

    number: int
    invocation: str
    broken: bool


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that came, from when until when, and whom it struck."""

    kind: Kind
    from_s: float
    until_s: float
    deployment: str = ""
    failed: str = ""  # what was said to a deploy


class Run(msgspec.Struct, kw_only=True):
    """One time that user code ran. `end_s` is None where it never came to its end."""

    number: int
    invocation: str
    begin_s: float
    end_s: float | None = None


class Witness:
    """Collects what clients saw while a run goes on."""

    def __init__(self) -> None:
        self.calls: Final[list[Seen]] = []
        self.acknowledged: Final[dict[int, Acknowledged]] = {}
        # Numbers of those that somebody asked to cancel, and whether that was confirmed.
        self.cancelled: Final[dict[int, bool]] = {}
        self.done: Final[list[Done]] = []
        self.violations: Final[list[str]] = []
        self.counts: Final[Counter[str]] = Counter()

    def accuse(self, what: str) -> None:
        """A law is broken."""
        self.violations.append(what)

    def struck(self, kinds: Iterable[Kind], from_s: float, until_s: float) -> bool:
        """Whether one of these faults fell into the time."""
        wanted = frozenset(kinds)
        return any(
            one.kind in wanted and one.from_s <= until_s and one.until_s >= from_s for one in self.done
        )


def read_notes(path: Path) -> Sequence[Run]:
    """What user code noted, in order. An end belongs to the last beginning of its number and invocation."""
    runs: list[Run] = []
    last: dict[tuple[int, str], Run] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        phase, number, invocation, at_s = line.split()
        key = int(number), invocation
        if phase == "begin":
            last[key] = Run(number=key[0], invocation=invocation, begin_s=float(at_s))
            runs.append(last[key])
        else:
            last[key].end_s = float(at_s)
    return runs


class Metered(msgspec.Struct, frozen=True, kw_only=True):
    """The journal: its records by invocation, and how many stretches of it were damaged or noted as torn."""

    records: Mapping[str, Sequence[UsageRecord]]
    damaged: int

    @property
    def count(self) -> int:
        """Records in all."""
        return sum(map(len, self.records.values()))


def read_journal(folder: Path) -> Metered:
    """What was metered, by invocation."""
    decoder = msgspec.msgpack.Decoder(Entry)
    records: dict[str, list[UsageRecord]] = {}
    damaged = 0
    for segment in segments_in(folder):
        content = segment.read_bytes()
        end = len(MAGIC)
        for frame in frames(content, end):
            entry = decoder.decode(frame.payload)
            if isinstance(entry, UsageRecord):
                records.setdefault(entry.invocation, []).append(entry)
            damaged += frame.after_damage or not isinstance(entry, UsageRecord)
            end = frame.end
        damaged += content.startswith(MAGIC) and end != len(content)
    return Metered(records=records, damaged=damaged)
