"""When a deployment is invoked by the clock: what a timer says, and which of its ticks is due. Pure.

A tick is a moment that a timer names, in Unix milliseconds. Each is due once. Where several have passed since
the last look (the server was down, the machine slept) only the last one is due: what a function does daily is
made good, and is not done seven times after a week.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from lambent.core.calendars import YEAR_MAX, Calendar, aws_calendar, usual_calendar
from lambent.core.errors import InvalidSpec
from lambent.core.schedule import read_zone

RATE: Final = re.compile(r"rate\(\s*(\d{1,9})\s+(minute|hour|day)(s?)\s*\)")
CRON: Final = re.compile(r"cron\((.*)\)")
AT: Final = re.compile(r"at\((\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})\)")
UNIT_MS: Final = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
EXPRESSION_CHARACTERS_MAX: Final = 256
INPUT_BYTES_MAX: Final = 8192
OWN: Final = ""  # the name of the timer that a deployment's own schedule is
TIMERS_MAX: Final = 100  # of a deployment
DAYS_SEEN_MAX: Final = 366 * 9  # a leap day may be eight years away


class Source(StrEnum):
    """In whose words a timer's event is."""

    RULE = "rule"  # EventBridge's rules
    SCHEDULER = "scheduler"  # EventBridge Scheduler


class Timer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What invokes a deployment by the clock.

    `expression` is `rate(5 minutes)`, `cron(0 8 ? * MON-FRI *)`, `at(2030-01-31T08:00:00)`, or cron's usual
    five fields, by the clocks of `zone`. `input` is the event, in JSON; where it is empty the event is what
    AWS sends. Nothing comes before `starts_unix_ms` or after `ends_unix_ms`, 0 for no bound.
    """

    name: str
    expression: str
    zone: str = "UTC"
    input: str = ""
    alias: str = ""
    source: Source = Source.RULE
    enabled: bool = True
    starts_unix_ms: int = 0
    ends_unix_ms: int = 0


class Span(msgspec.Struct, frozen=True):
    """From its own beginning on, one tick after each `period_ms`."""

    period_ms: int


class Moment(msgspec.Struct, frozen=True):
    """One tick."""

    unix_ms: int


def own_timer(text: str) -> Timer:
    """The timer of a deployment's own schedule: an expression, and after a semicolon perhaps a time zone."""
    expression, _, zone = (piece.strip() for piece in text.partition(";"))
    return Timer(name=OWN, expression=expression, zone=zone or "UTC")


def checked_timer(timer: Timer) -> Timer:
    """`timer` itself, or `InvalidSpec` that says what is wrong with it."""
    _reading(timer.expression, timer.zone)
    if len(timer.input.encode()) > INPUT_BYTES_MAX:
        raise InvalidSpec(f"the input of {timer.name!r} has more than {INPUT_BYTES_MAX} bytes")
    return timer


def next_tick(timer: Timer, *, began_unix_ms: int, after_unix_ms: int) -> int | None:
    """The first tick after a time; None where there is none in the next years.

    `began_unix_ms` is when the timer was made: from there a rate counts.
    """
    if not timer.enabled:
        return None
    after = max(after_unix_ms, timer.starts_unix_ms - 1)
    tick = _next(_reading(timer.expression, timer.zone), timer.zone, began_unix_ms, after)
    return None if tick is None or (timer.ends_unix_ms and tick > timer.ends_unix_ms) else tick


def due_tick(timer: Timer, *, began_unix_ms: int, after_unix_ms: int, now_unix_ms: int) -> int | None:
    """The last tick after `after_unix_ms` that has come by now; None where none has."""
    if not timer.enabled:
        return None
    until = min(now_unix_ms, timer.ends_unix_ms or now_unix_ms)
    tick = _last(_reading(timer.expression, timer.zone), timer.zone, began_unix_ms, until)
    return None if tick is None or tick <= after_unix_ms or tick < timer.starts_unix_ms else tick


Reading = Calendar | Span | Moment


def _reading(expression: str, zone: str) -> Reading:
    """Raises `InvalidSpec`."""
    if len(expression) > EXPRESSION_CHARACTERS_MAX:
        raise InvalidSpec(f"a schedule has at most {EXPRESSION_CHARACTERS_MAX} characters")
    clocks = read_zone(zone)
    if match := RATE.fullmatch(expression):
        count, unit = int(match[1]), match[2]
        if count < 1 or (count == 1) == bool(match[3]):
            raise InvalidSpec(f"{expression!r} is no rate: write rate(1 {unit}), or rate(5 {unit}s)")
        return Span(count * UNIT_MS[unit])
    if match := AT.fullmatch(expression):
        try:
            return Moment(int(datetime.fromisoformat(match[1]).replace(tzinfo=clocks).timestamp()) * 1000)
        except (ValueError, OverflowError):
            raise InvalidSpec(f"{expression!r} is no time: write at(2030-01-31T08:00:00)") from None
    if match := CRON.fullmatch(expression):
        return aws_calendar(match[1])
    return usual_calendar(expression)


def _next(reading: Reading, zone: str, began: int, after: int) -> int | None:
    match reading:
        case Moment(unix_ms):
            return unix_ms if unix_ms > after else None
        case Span(period_ms):
            return began + max(1, (after - began) // period_ms + 1) * period_ms
        case Calendar() as days:
            return _in_days(days, zone, after, step=1)


def _last(reading: Reading, zone: str, began: int, until: int) -> int | None:
    match reading:
        case Moment(unix_ms):
            return unix_ms if unix_ms <= until else None
        case Span(period_ms):
            passed = (until - began) // period_ms
            return began + passed * period_ms if passed > 0 else None
        case Calendar() as days:
            return _in_days(days, zone, until, step=-1)


def _in_days(days: Calendar, zone: str, from_unix_ms: int, *, step: int) -> int | None:
    """The first tick after a time, or with a step of -1 the last one up to it."""
    clocks = read_zone(zone)
    day = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=from_unix_ms)).astimezone(clocks).date()
    for _ in range(DAYS_SEEN_MAX):
        if day.year > YEAR_MAX:
            return None
        ticks = days.of_day(day, clocks)
        found = [tick for tick in ticks if (tick > from_unix_ms) == (step > 0)]
        if found:
            return found[0 if step > 0 else -1]
        day += timedelta(days=step)
    return None
