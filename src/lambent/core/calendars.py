"""Cron expressions as days and times of day: the usual five fields, and AWS's six.

In a year, clocks skip an hour and repeat another. A time that is repeated counts once, the first time, unless
the expression names every hour. A time that is skipped: by the usual form it comes as long after the day's
earlier times as ever, so that what is nightly runs every night; by AWS's it does not come.
Source: Amazon EventBridge User Guide, "cron expressions reference"; EventBridge Scheduler User Guide,
"daylight savings time on EventBridge Scheduler".
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, tzinfo
from enum import StrEnum
from typing import Final

import msgspec

from lambent.core.errors import InvalidSpec
from lambent.core.schedule import read_cron

AWS_FIELDS: Final = 6
YEAR_MIN: Final = 1970
YEAR_MAX: Final = 2199
HOURS: Final = 24
MONTHS: Final = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
WEEKDAYS: Final = {"SUN": 1, "MON": 2, "TUE": 3, "WED": 4, "THU": 5, "FRI": 6, "SAT": 7}
STEPPED: Final = re.compile(r"(\*|[A-Z0-9]+)(?:-([A-Z0-9]+))?(?:/(\d{1,4}))?")
DIGITS_MAX: Final = 4

Days = Callable[[date], bool]


class Skipped(StrEnum):
    """What becomes of a time that no clock shows on that day."""

    COMES = "comes"
    LEFT_OUT = "left out"


class Field(msgspec.Struct, frozen=True):
    """A field of a cron expression: its name, the numbers that it may have, and words for some of them."""

    name: str
    low: int
    high: int
    words: Mapping[str, int] = {}


MINUTE: Final = Field("minute", 0, 59)
HOUR: Final = Field("hour", 0, 23)
DAY: Final = Field("day", 1, 31)
MONTH: Final = Field("month", 1, 12, MONTHS)
WEEKDAY: Final = Field("weekday", 1, 7, WEEKDAYS)
YEAR: Final = Field("year", YEAR_MIN, YEAR_MAX)


class Calendar:
    """What days an expression names, and what times of these days."""

    def __init__(self, *, minutes: Sequence[int], hours: Sequence[int], days: Days, skipped: Skipped) -> None:
        self._times: Final = [time(hour, minute) for hour in sorted(hours) for minute in sorted(minutes)]
        self._every_hour: Final = len(hours) == HOURS
        self._days: Final = days
        self._comes: Final = skipped is Skipped.COMES

    def of_day(self, day: date, zone: tzinfo) -> list[int]:
        """Its times of one day by the clocks of `zone`, in Unix milliseconds, in order."""
        return sorted(set(self._of_day(day, zone))) if self._days(day) else []

    def _of_day(self, day: date, zone: tzinfo) -> Iterator[int]:
        for one in self._times:
            here = datetime.combine(day, one, zone)
            unix_ms = _unix_ms(here)
            if datetime.fromtimestamp(unix_ms / 1e3, zone).replace(tzinfo=None) != here.replace(tzinfo=None):
                if self._comes:
                    yield unix_ms
                continue
            yield unix_ms
            if self._every_hour:
                yield _unix_ms(here.replace(fold=1))


def usual_calendar(text: str) -> Calendar:
    """Of the five fields minute, hour, day, month and weekday. Raises `InvalidSpec`."""
    cron = read_cron(text)

    def days(day: date) -> bool:
        return day.month in cron.months and bool(cron.match_day(day))

    return Calendar(minutes=[*cron.minutes], hours=[*cron.hours], days=days, skipped=Skipped.COMES)


def aws_calendar(text: str) -> Calendar:
    """Of AWS's six fields, the day of the month or that of the week being `?`. Raises `InvalidSpec`."""
    parts = text.upper().split()
    if len(parts) != AWS_FIELDS:
        raise InvalidSpec(f"cron({text}) does not have the six fields minute hour day month weekday year")
    minute, hour, day, month, weekday, year = parts
    if (day == "?") == (weekday == "?"):
        raise InvalidSpec(f"cron({text}) is to have a ? either for the day of the month or of the week")
    months, years = _numbers(MONTH, month), _numbers(YEAR, year)
    named = _days_of_week(weekday) if day == "?" else _days_of_month(day)

    def days(one: date) -> bool:
        return one.month in months and one.year in years and named(one)

    return Calendar(
        minutes=[*_numbers(MINUTE, minute)],
        hours=[*_numbers(HOUR, hour)],
        days=days,
        skipped=Skipped.LEFT_OUT,
    )


def _days_of_month(text: str) -> Days:
    """`L` is the last day, `15W` the working day nearest to the 15th."""
    if text == "L":
        return lambda one: one.day == _last_day(one)
    if text.endswith("W") and text[:-1].isdecimal():
        wanted = _number(DAY, text[:-1])
        return lambda one: one.day == _nearest_working_day(one, wanted)
    numbers = _numbers(DAY, text)
    return lambda one: one.day in numbers


def _days_of_week(text: str) -> Days:
    """`6L` is the last Friday of the month, `6#2` the second, `L` is Saturday."""
    if "#" in text:
        name, _, nth = text.partition("#")
        weekday, week = _number(WEEKDAY, name), _number(Field("week of the month", 1, 5), nth)
        return lambda one: _weekday(one) == weekday and (one.day + 6) // 7 == week
    if len(text) > 1 and text.endswith("L"):
        weekday = _number(WEEKDAY, text[:-1])
        return lambda one: _weekday(one) == weekday and one.day + 7 > _last_day(one)
    numbers = frozenset({WEEKDAY.high}) if text == "L" else _numbers(WEEKDAY, text)
    return lambda one: _weekday(one) in numbers


def _numbers(field: Field, text: str) -> frozenset[int]:
    """Of a list of numbers and of ranges, each perhaps with a step."""
    found: set[int] = set()
    for part in text.split(","):
        match = STEPPED.fullmatch(part)
        if match is None:
            raise InvalidSpec(f"{part!r} is no {field.name} of a cron expression")
        first, last, step = match.groups()
        low = field.low if first == "*" else _number(field, first)
        high = _number(field, last) if last else field.high if step or first == "*" else low
        if (first == "*" and last) or (step is not None and int(step) < 1):
            raise InvalidSpec(f"{part!r} is no {field.name} of a cron expression")
        span = (
            range(low, high + 1)
            if low <= high
            else (*range(low, field.high + 1), *range(field.low, high + 1))
        )
        found.update(span[:: int(step or 1)])
    return frozenset(found)


def _number(field: Field, text: str) -> int:
    number = field.words.get(text)
    if number is None and text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX:
        number = int(text)
    if number is None or not field.low <= number <= field.high:
        raise InvalidSpec(
            f"{text!r} is no {field.name}: those of a cron expression are {field.low} to {field.high}"
        )
    return number


def _weekday(day: date) -> int:
    """As AWS counts: 1 is Sunday."""
    return day.isoweekday() % 7 + 1


def _last_day(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def _nearest_working_day(day: date, wanted: int) -> int:
    """Within the month of `day`; 0 where that has no such day."""
    last = _last_day(day)
    if wanted > last:
        return 0
    match day.replace(day=wanted).isoweekday():
        case 6:
            return wanted - 1 if wanted > 1 else wanted + 2
        case 7:
            return wanted + 1 if wanted < last else wanted - 2
        case _:
            return wanted


def _unix_ms(here: datetime) -> int:
    return int(here.astimezone(UTC).timestamp()) * 1000
