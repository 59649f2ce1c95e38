"""CloudWatch Logs' four reading operations: requests, answers, and how a log is cut into pages."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from lambent.wire.aws.faults import Fault
from lambent.wire.process import worker_mark

EVENTS_MAX: Final = 10_000
PAGE_BYTES_MAX: Final = 1 << 20
NAMES_MAX: Final = 50
MESSAGE_COST: Final = 26  # what AWS counts for an event beside its text
LINE: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\S+) ?(.*)", re.DOTALL)
POSITION: Final = re.compile(r"(\d{1,15}):(\d{1,9})")
UNKNOWN_PREFIX: Final = "[$LATEST]" + "0" * 20  # of a stream whose worker no server knows any more

Time = Annotated[int, Meta(ge=0)]
Limit = Annotated[int, Meta(ge=1, le=EVENTS_MAX)]
NamesLimit = Annotated[int, Meta(ge=1, le=NAMES_MAX)]
Token = Annotated[str, Meta(min_length=1)]


class Shape(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A structure of the service's model."""


class GroupsAsked(Shape, frozen=True, kw_only=True):
    """DescribeLogGroups."""

    log_group_name_prefix: str = ""
    log_group_name_pattern: str = ""
    next_token: Token | None = None
    limit: NamesLimit = NAMES_MAX


class StreamsAsked(Shape, frozen=True, kw_only=True):
    """DescribeLogStreams."""

    log_group_name: str = ""
    log_group_identifier: str = ""
    log_stream_name_prefix: str = ""
    order_by: str = "LogStreamName"
    descending: bool = False
    next_token: Token | None = None
    limit: NamesLimit = NAMES_MAX


class EventsAsked(Shape, frozen=True, kw_only=True):
    """GetLogEvents. Times are unix milliseconds; `end_time` is not included."""

    log_stream_name: str
    log_group_name: str = ""
    log_group_identifier: str = ""
    start_time: Time | None = None
    end_time: Time | None = None
    next_token: Token | None = None
    limit: Limit = EVENTS_MAX
    start_from_head: bool = False


class FilterAsked(Shape, frozen=True, kw_only=True):
    """FilterLogEvents. `end_time` is included."""

    log_group_name: str = ""
    log_group_identifier: str = ""
    log_stream_names: list[str] | None = None
    log_stream_name_prefix: str = ""
    start_time: Time | None = None
    end_time: Time | None = None
    filter_pattern: Annotated[str, Meta(max_length=1024)] = ""
    next_token: Token | None = None
    limit: Limit = EVENTS_MAX


class LogGroup(Shape, frozen=True, kw_only=True, omit_defaults=False):
    """A function's log."""

    log_group_name: str
    creation_time: int
    metric_filter_count: int = 0
    arn: str
    stored_bytes: int
    log_group_class: str = "STANDARD"
    log_group_arn: str


class LogStream(Shape, frozen=True, kw_only=True, omit_defaults=False):
    """What one worker printed."""

    log_stream_name: str
    creation_time: int
    first_event_timestamp: int
    last_event_timestamp: int
    last_ingestion_time: int
    upload_sequence_token: str
    arn: str
    stored_bytes: int = 0


class Event(msgspec.Struct, frozen=True):
    """One line of a log. `ordinal` counts those of one millisecond."""

    unix_ms: int
    ordinal: int
    stream: str
    message: str

    @property
    def position(self) -> tuple[int, int]:
        """Where it stands among the others."""
        return self.unix_ms, self.ordinal

    @property
    def event_id(self) -> str:
        """The same whenever it is read."""
        mark = zlib.crc32(f"{self.stream}\n{self.message}".encode())
        return f"{self.unix_ms:020}{self.ordinal:012}{mark:024}"


class Page(msgspec.Struct, frozen=True):
    """Some events, and whether more follow behind them."""

    events: Sequence[Event]
    more: bool


def read_lines(lines: Iterable[str], streams: dict[str, str]) -> list[Event]:
    """The events of stored lines, in order of time. `streams` names those of workers, and learns others.

    A stream ends with the 12 digits that its worker is known by.
    """
    found: list[tuple[int, str, str]] = []
    for line in lines:
        match = LINE.match(line)
        if match is None:
            continue
        stamp, worker, text = match.groups()
        stream = streams.get(worker)
        if stream is None:
            stream = streams[worker] = f"{stamp[:10].replace('-', '/')}/{UNKNOWN_PREFIX}{worker_mark(worker)}"
        unix_ms = int(datetime.fromisoformat(stamp).timestamp() * 1000 + 0.5)
        found.append((unix_ms, stream, text))
    found.sort(key=lambda one: one[0])  # stable: what was written first comes first
    events: list[Event] = []
    last_ms, ordinal = -1, 0
    for unix_ms, stream, text in found:
        ordinal = ordinal + 1 if unix_ms == last_ms else 0
        last_ms = unix_ms
        events.append(Event(unix_ms, ordinal, stream, f"{text}\n"))
    return events


def page_after(events: Sequence[Event], after: tuple[int, int] | None, limit: int) -> Page:
    """The first events behind a position, as many as fit."""
    rest = [one for one in events if after is None or one.position > after]
    taken = _fitting(rest, limit)
    return Page(rest[:taken], taken < len(rest))


def page_before(events: Sequence[Event], before: tuple[int, int] | None, limit: int) -> Page:
    """The last events in front of a position, as many as fit, in order."""
    rest = [one for one in events if before is None or one.position < before]
    taken = _fitting(rest[::-1], limit)
    return Page(rest[len(rest) - taken :], taken < len(rest))


def _fitting(events: Sequence[Event], limit: int) -> int:
    size_bytes = 0
    for count, one in enumerate(events[:limit]):
        size_bytes += len(one.message.encode()) + MESSAGE_COST
        if size_bytes > PAGE_BYTES_MAX and count:
            return count
    return min(limit, len(events))


def token_of(direction: str, position: tuple[int, int]) -> str:
    """A position as a client keeps it: `f/` forward of it, `b/` back from it."""
    return f"{direction}/{position[0]:015}:{position[1]:09}"


def position_of(token: str) -> tuple[str, tuple[int, int]]:
    """What `token_of` wrote. Raises `Fault`."""
    direction, _, rest = token.partition("/")
    match = POSITION.fullmatch(rest)
    if match is None or direction not in ("f", "b"):
        raise Fault("InvalidParameterException", 400, "The specified nextToken is invalid.", extra={})
    return direction, (int(match[1]), int(match[2]))


def no_group() -> Fault:
    """No function has this log."""
    return Fault("ResourceNotFoundException", 400, "The specified log group does not exist.", extra={})


def no_stream() -> Fault:
    """Nobody printed this."""
    return Fault("ResourceNotFoundException", 400, "The specified log stream does not exist.", extra={})
