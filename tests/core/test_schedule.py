"""Minimums by the time of day: what is read, what holds when, and what is refused."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.errors import InvalidSpec
from lambent.core.schedule import (
    ENTRIES_MAX,
    Entry,
    Schedule,
    most_workers,
    read_schedule,
    scheduled_workers,
)
from lambent.core.settings import with_settings
from lambent.core.spec import Kind, new_spec

OFFICE = read_schedule("* 8-17 * * 1-5=2; 55-59 8 * * 1-5=6; Europe/Berlin")


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def test_a_schedule_is_entries_and_a_time_zone() -> None:
    office = Schedule((Entry("* 8-17 * * 1-5", 2), Entry("55-59 8 * * 1-5", 6)), zone="Europe/Berlin")
    assert office == OFFICE
    assert read_schedule(" ; ") == Schedule()
    assert most_workers(OFFICE) == 6
    assert most_workers(Schedule()) == 0


@pytest.mark.parametrize(
    ("when", "workers"),
    [
        pytest.param("2026-11-23T07:59:59.999", 0, id="before the day begins"),
        pytest.param("2026-11-23T08:00", 2, id="as it begins"),
        pytest.param("2026-11-23T08:55", 6, id="the highest that matches"),
        pytest.param("2026-11-23T17:59:59", 2, id="to the end of its last minute"),
        pytest.param("2026-11-23T18:00", 0, id="and no longer"),
        pytest.param("2026-11-22T12:00", 0, id="not on a Sunday"),
        pytest.param("2026-07-20T08:00", 2, id="in summer time, too"),
    ],
)
def test_a_minimum_holds_in_the_minutes_that_match_on_the_clocks_of_its_zone(when: str, workers: int) -> None:
    assert scheduled_workers(OFFICE, at(when, "Europe/Berlin")) == workers


def test_without_a_zone_the_clocks_are_those_of_utc() -> None:
    assert scheduled_workers(read_schedule("0 12 * * *=1"), at("2026-01-01T12:00:30")) == 1


def test_what_runs_every_five_minutes_holds_for_a_minute_each() -> None:
    every = read_schedule("*/5 8-18 * * 1-5=2")
    held = [scheduled_workers(every, at(f"2026-11-23T10:{minute:02}")) for minute in range(11)]
    assert held == [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2]


def test_an_hour_that_the_clocks_repeat_holds_twice_and_one_that_they_skip_never() -> None:
    two = read_schedule("* 2 * * *=1; Europe/Berlin")
    autumn, spring = at("2026-10-25T00:00"), at("2026-03-29T00:00")  # 2:00 in Berlin is 0:00 and 1:00 UTC
    assert [scheduled_workers(two, autumn + hour * 3_600_000) for hour in range(3)] == [1, 1, 0]
    assert [scheduled_workers(two, spring + hour * 3_600_000) for hour in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("* * * *=1", "'\\* \\* \\* \\*' does not have the five fields"),
        ("61 * * * *=1", "'61 \\* \\* \\* \\*' is no cron expression: Bad minute"),
        ("* * * * *=", "ends in no number of workers from 0 to 256"),
        ("* * * * *=-1", "ends in no number of workers"),
        ("* * * * *=257", "ends in no number of workers"),
        ("* * * * *=\u0661", "ends in no number of workers"),
        ("* * * * *=1; Mars/Olympus", "'Mars/Olympus' is no time zone"),
        ("* * * * *=1; ../../etc/passwd", "is no time zone"),
        ("* * * * *=1; UTC; Europe/Berlin", "one time zone at most"),
        ("Europe/Berlin", "is no entry of a schedule"),
        (";".join(["* * * * *=1"] * (ENTRIES_MAX + 1)), "at most 32 entries"),
        ("*" * 1001, "at most 1000 characters"),
    ],
)
def test_what_is_no_schedule_is_refused_with_its_reason(text: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        read_schedule(text)


def test_a_deployment_cannot_be_scheduled_above_its_maximum() -> None:
    spec = new_spec("f", Kind.FUNCTION, entrypoint="app:f")
    told = {"workers_min_schedule": "* 8-17 * * *=4"}
    assert with_settings(spec, told).workers_min_schedule == "* 8-17 * * *=4"
    with pytest.raises(InvalidSpec, match="workers_min_schedule asks for 4, workers_max is 2"):
        with_settings(spec, told | {"workers_max": 2})
    with pytest.raises(InvalidSpec, match="no cron expression"):
        with_settings(spec, {"workers_min_schedule": "x * * * *=4"})


@given(st.datetimes(timezones=st.just(UTC)), st.integers(0, 23), st.integers(0, 59))
def test_a_schedule_agrees_with_the_clock(when: datetime, hour: int, minute: int) -> None:
    when = when.replace(year=2000 + when.year % 40 // 4 * 4)
    unix_ms = int(when.timestamp() * 1000)
    held = scheduled_workers(read_schedule(f"{minute} {hour} * * *=1"), unix_ms)
    assert held == int((when.hour, when.minute) == (hour, minute))
