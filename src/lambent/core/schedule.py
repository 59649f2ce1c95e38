"""Minimums by the clock on the wall: how many workers there are to be at this time of the day, week and year.

`* 8-17 * * 1-5=2; 55-59 8 * * 1-5=6; Europe/Berlin` reads: from 8:00 until 18:00 on working days at least 2,
in the five minutes before 9:00 at least 6, by the clocks of Berlin. A minimum holds in each minute that its
cron expression matches, so nothing has to be remembered: a server that starts at 10:00 knows what holds, and
an hour that a change of the clocks skips or repeats is simply not, or twice, on the wall.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Final

import msgspec

from lambent.core.errors import InvalidSpec

if TYPE_CHECKING:
    from cronsim import CronSim

ENTRIES_MAX: Final = 32
TEXT_CHARACTERS_MAX: Final = 1000
WORKERS_MAX: Final = 256
CRON_FIELDS: Final = 5
ANY_TIME: Final = datetime(2000, 1, 1)  # noqa: DTZ001  only the expression is read, no time is asked for


class Entry(msgspec.Struct, frozen=True):
    """At least `workers` in every minute that the five fields of `cron` match."""

    cron: str
    workers: int


class Schedule(msgspec.Struct, frozen=True):
    """Entries, of which the highest that matches holds, and the name of the time zone whose clocks count."""

    entries: tuple[Entry, ...] = ()
    zone: str = "UTC"


def read_schedule(text: str) -> Schedule:
    """The schedule that `text` says: `CRON=WORKERS` parts and at most one time zone, between semicolons.

    No text is no schedule. Raises `InvalidSpec` that names the part and what is wrong with it.
    """
    if len(text) > TEXT_CHARACTERS_MAX:
        raise InvalidSpec(f"a schedule has at most {TEXT_CHARACTERS_MAX} characters, this one {len(text)}")
    parts = [part.strip() for part in text.split(";") if part.strip()]
    zones = [part for part in parts if "=" not in part]
    entries = tuple(_entry(part) for part in parts if "=" in part)
    if len(zones) > 1:
        raise InvalidSpec(f"a schedule has one time zone at most, not {zones[0]!r} and {zones[1]!r}")
    if len(entries) > ENTRIES_MAX:
        raise InvalidSpec(f"a schedule has at most {ENTRIES_MAX} entries, this one {len(entries)}")
    if zones and not entries:
        raise InvalidSpec(f"{zones[0]!r} is no entry of a schedule: write CRON=WORKERS, as * 8-17 * * 1-5=2")
    schedule = Schedule(entries, zones[0]) if zones else Schedule(entries)
    read_zone(schedule.zone)
    return schedule


def scheduled_workers(schedule: Schedule, unix_ms: int) -> int:
    """The minimum that holds in this minute; 0 where no entry matches."""
    if not schedule.entries:
        return 0
    here = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=unix_ms)).astimezone(
        read_zone(schedule.zone)
    )
    return max((one.workers for one in schedule.entries if _matches(read_cron(one.cron), here)), default=0)


def most_workers(schedule: Schedule) -> int:
    """The highest minimum that it ever asks for."""
    return max((one.workers for one in schedule.entries), default=0)


def _entry(part: str) -> Entry:
    cron, _, number = (piece.strip() for piece in part.rpartition("="))
    if not number.isascii() or not number.isdecimal() or not 0 <= int(number[:9]) <= WORKERS_MAX:
        raise InvalidSpec(f"{part!r} ends in no number of workers from 0 to {WORKERS_MAX}")
    read_cron(cron)
    return Entry(" ".join(cron.split()), int(number))


def read_cron(text: str) -> CronSim:
    """The five fields of `text`, read. Raises `InvalidSpec`."""
    # Loaded where there is a schedule, so that nobody else waits for it.
    from cronsim import CronSim, CronSimError

    if len(text.split()) != CRON_FIELDS:
        raise InvalidSpec(f"{text!r} does not have the five fields minute hour day month weekday")
    try:
        return CronSim(text, ANY_TIME)
    except CronSimError as error:
        raise InvalidSpec(f"{text!r} is no cron expression: {error}") from None


def _matches(cron: CronSim, here: datetime) -> bool:
    return (
        here.minute in cron.minutes
        and here.hour in cron.hours
        and here.month in cron.months
        and cron.match_day(here.date())
    )


def read_zone(name: str) -> tzinfo:
    """The time zone of that name. Raises `InvalidSpec`."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InvalidSpec(
            f"{name!r} is no time zone known here: write one as Europe/Berlin (Debian's are in tzdata)"
        ) from None
