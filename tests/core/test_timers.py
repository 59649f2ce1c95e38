"""When timers tick: AWS's expressions and the usual ones, on days when clocks change, after an absence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lambent.core.errors import InvalidSpec
from lambent.core.settings import with_settings
from lambent.core.spec import DeploymentSpec, Kind
from lambent.core.timers import Timer, checked_timer, due_tick, next_tick

BERLIN = "Europe/Berlin"


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def ticks(expression: str, since: str, count: int, zone: str = "UTC") -> list[str]:
    """The next ticks, in UTC."""
    timer, after, found = Timer(name="t", expression=expression, zone=zone), ms(since), []
    for _ in range(count):
        tick = next_tick(timer, began_unix_ms=ms(since), after_unix_ms=after)
        if tick is None:
            break
        after = tick
        found.append(datetime.fromtimestamp(tick / 1e3, UTC).strftime("%Y-%m-%dT%H:%M"))
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rate(5 minutes)", ["2026-01-01T00:05", "2026-01-01T00:10"]),
        ("rate(1 day)", ["2026-01-02T00:00", "2026-01-03T00:00"]),
        ("cron(0 8 ? * MON-FRI *)", ["2026-01-01T08:00", "2026-01-02T08:00", "2026-01-05T08:00"]),
        ("cron(0 8 ? * 2 *)", ["2026-01-05T08:00"]),  # AWS's 2 is Monday
        ("cron(15/20 12 * * ? *)", ["2026-01-01T12:15", "2026-01-01T12:35", "2026-01-01T12:55"]),
        ("cron(0 0 L * ? *)", ["2026-01-31T00:00", "2026-02-28T00:00"]),
        ("cron(0 0 3W * ? *)", ["2026-01-02T00:00", "2026-02-03T00:00"]),  # January 3rd is a Saturday
        ("cron(0 0 ? * 6#2 *)", ["2026-01-09T00:00", "2026-02-13T00:00"]),
        ("cron(0 0 ? * 6L *)", ["2026-01-30T00:00", "2026-02-27T00:00"]),
        ("cron(0 0 29 2 ? *)", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("cron(0 0 1 1 ? 2027-2028)", ["2027-01-01T00:00", "2028-01-01T00:00"]),
        ("at(2026-02-03T04:05:06)", ["2026-02-03T04:05"]),
        ("*/20 12 * * 1", ["2026-01-05T12:00", "2026-01-05T12:20", "2026-01-05T12:40"]),
    ],
)
def test_the_next_ticks_of_an_expression(expression: str, expected: list[str]) -> None:
    assert ticks(expression, "2026-01-01T00:00:00", len(expected)) == expected


def test_what_has_passed_never_ticks() -> None:
    assert ticks("cron(0 0 1 1 ? 2020)", "2026-01-01T00:00:00", 1) == []
    assert ticks("at(2020-01-01T00:00:00)", "2026-01-01T00:00:00", 1) == []
    assert ticks("cron(0 0 30 2 ? *)", "2026-01-01T00:00:00", 1) == []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # Clocks go from 2:00 to 3:00 on March 29th: AWS leaves out what they skip, cron does not.
        ("cron(30 2 * * ? *)", ["2026-03-28T01:30", "2026-03-30T00:30"]),
        ("30 2 * * *", ["2026-03-28T01:30", "2026-03-29T01:30", "2026-03-30T00:30"]),
        ("cron(0 8 * * ? *)", ["2026-03-28T07:00", "2026-03-29T06:00"]),
    ],
)
def test_an_hour_that_clocks_skip(expression: str, expected: list[str]) -> None:
    assert ticks(expression, "2026-03-28T00:00:00", len(expected), BERLIN) == expected


def test_an_hour_that_clocks_repeat_counts_once_unless_every_hour_is_meant() -> None:
    # Clocks go from 3:00 to 2:00 on October 25th, which is 1:00 in UTC.
    assert ticks("30 2 * * *", "2026-10-25T00:00:00", 2, BERLIN) == ["2026-10-25T00:30", "2026-10-26T01:30"]
    hourly = [f"2026-10-25T{hour:02}:30" for hour in range(4)]
    assert ticks("30 * * * *", "2026-10-25T00:00:00", 4, BERLIN) == hourly
    assert ticks("cron(30 * * * ? *)", "2026-10-25T00:00:00", 4, BERLIN) == hourly


def test_after_an_absence_the_last_tick_alone_is_due() -> None:
    timer = Timer(name="t", expression="cron(0 8 * * ? *)")
    began = ms("2026-01-01T00:00:00")

    def due(after: str, now: str) -> int | None:
        return due_tick(timer, began_unix_ms=began, after_unix_ms=ms(after), now_unix_ms=ms(now))

    assert due("2026-01-01T08:00:00", "2026-01-08T12:00:00") == ms("2026-01-08T08:00:00")
    assert due("2026-01-08T08:00:00", "2026-01-09T07:59:59") is None
    assert due("2026-01-08T08:00:00", "2026-01-09T08:00:00") == ms("2026-01-09T08:00:00")


@pytest.mark.parametrize("expression", ["rate(7 minutes)", "cron(3/7 * * * ? *)", "*/9 * * * *"])
def test_however_often_one_looks_each_tick_is_due_once(expression: str) -> None:
    timer = Timer(name="t", expression=expression)
    began = after = now = ms("2026-03-28T22:00:00")
    found = []
    for step in range(400):
        now += (step * 7919) % 61_000
        tick = due_tick(timer, began_unix_ms=began, after_unix_ms=after, now_unix_ms=now)
        if tick is not None:
            found.append(tick)
            after = tick
    assert found == sorted(set(found))
    expected, after = [], began
    while (tick := next_tick(timer, began_unix_ms=began, after_unix_ms=after)) is not None and tick <= now:
        expected.append(tick)
        after = tick
    assert found == expected


def test_bounds_and_a_switch_hold() -> None:
    start, end = ms("2026-01-01T00:10:00"), ms("2026-01-01T00:14:00")
    timer = Timer(name="t", expression="* * * * *", starts_unix_ms=start, ends_unix_ms=end)
    began = ms("2026-01-01T00:00:00")
    assert next_tick(timer, began_unix_ms=began, after_unix_ms=began) == start
    assert next_tick(timer, began_unix_ms=began, after_unix_ms=end) is None
    later = end + int(timedelta(hours=1).total_seconds()) * 1000
    assert due_tick(timer, began_unix_ms=began, after_unix_ms=began, now_unix_ms=later) == end
    off = Timer(name="t", expression="* * * * *", enabled=False)
    assert next_tick(off, began_unix_ms=began, after_unix_ms=began) is None
    assert due_tick(off, began_unix_ms=began, after_unix_ms=began, now_unix_ms=later) is None


@pytest.mark.parametrize(
    "expression",
    [
        "", "rate(1 minutes)", "rate(5 minute)", "rate(0 minutes)", "rate(5 seconds)", "cron(* * * * *)",
        "cron(0 0 * * * *)", "cron(0 0 ? * ? *)", "cron(60 0 * * ? *)", "cron(0 0 ? * 8 *)",
        "cron(0 0 32 * ? *)",
        "cron(0 0 ? * MON#6 *)", "cron(*/0 0 * * ? *)", "cron(*-5 0 * * ? *)", "at(2026-02-30T00:00:00)",
        "at(tomorrow)", "* * * *", "61 * * * *", "cron(0 0 ? * ²L *)", "x" * 300,
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(InvalidSpec):
        checked_timer(Timer(name="t", expression=expression))


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="time zone"):
        checked_timer(Timer(name="t", expression="* * * * *", zone="Mars/Phobos"))


def test_a_deployments_own_schedule_is_a_setting() -> None:
    for kind in Kind:
        spec = DeploymentSpec(name="f", kind=kind)
        assert with_settings(spec, {"schedule": "0 8 * * 1-5; Europe/Berlin"}).schedule
    for wrong in ("8 * * 1-5", "0 8 * * *; Nowhere", "rate(1 minutes)"):
        with pytest.raises(InvalidSpec):
            with_settings(spec, {"schedule": wrong})
