"""What a user sees of wakes."""

from __future__ import annotations

import io
import json
import sys

import msgspec
import pytest

from lambent.cli.output import bar
from lambent.cli.wakes import histogram, in_short
from lambent.core.spec import Temperature
from lambent.wire.api import WakeBucket, WakeSpread, WakeStatistics, WakeView
from tests.support.fake_control import FakeControl, json_told
from tests.unit.cli.conftest import Lambent
from tests.unit.cli.views import DETAIL, HELLO

COLD = WakeView(
    at_unix_ms=1_800_000_000_000,
    temperature=Temperature.COLD,
    number=1,
    total_ms=2345.6,
    parts_ms={
        "exec": 40.0, "import": 1500.0, "fork": 2.5, "load": 700.0, "init": 20.25, "practice": 30.0,
        "probe": 50.0, "restore": 1.5, "other": 1.35, "queue": 0.25, "first_run": 12.0,
    },
)  # fmt: skip
PRIMED = WakeView(
    at_unix_ms=1_800_000_060_000,
    temperature=Temperature.PRIMED,
    number=2,
    total_ms=3.5,
    parts_ms={"restore": 3.0, "other": 0.5},
)


def spread(count: int, took_ms: float) -> WakeSpread:
    return WakeSpread(count=count, min_ms=took_ms, p50_ms=took_ms, p99_ms=took_ms, max_ms=took_ms)


WOKEN = msgspec.structs.replace(
    DETAIL,
    wakes=(COLD, PRIMED),
    wake_statistics=WakeStatistics(
        total=spread(41, 3.5),
        by_temperature={"cold": spread(1, 2345.6), "primed": spread(40, 3.5)},
        buckets=(WakeBucket(2.0, 4.0, 40), WakeBucket(4.0, 8.0, 0), WakeBucket(2048.0, 4096.0, 1)),
    ),
)


def test_the_anatomy_is_a_table_with_a_column_for_each_part(control: FakeControl, lambent: Lambent) -> None:
    control.tell("GET", "/api/v1/deployments/hello", json_told(WOKEN))
    header, cold, primed, *_ = lambent("show", "hello", "--wakes").out.splitlines()
    titles = "WOKEN REV FROM EXEC IMPORT FORK LOAD/INIT PROBE RESTORE OTHER TOTAL QUEUE FIRST RUN"
    assert header.split() == titles.split()
    assert cold.split()[2:] == [
        "1", "cold", "40.0", "1,500.0", "2.5", "750.2", "50.0", "1.5", "1.4", "2,345.6", "0.2", "12.0",
    ]  # fmt: skip
    assert primed.split()[2:] == ["2", "primed", *"-----", "3.0", "0.5", "3.5", "-", "-"]


def test_the_spread_of_all_wakes_is_told_by_where_they_came_from(
    control: FakeControl, lambent: Lambent
) -> None:
    control.tell("GET", "/api/v1/deployments/hello", json_told(WOKEN))
    out = lambent("show", "hello", "--wakes").out
    assert "41 wakes since the server started" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["from", "cold", "1", "2.3", "s", "2.3", "s", "2.3", "s", "2.3", "s"] in lines
    assert ["all", "41", *["3.5", "ms"] * 4] in lines


def test_bars_are_shares_of_the_longest_and_none_is_lost() -> None:
    buckets = (WakeBucket(2.0, 4.0, 400), WakeBucket(4.0, 8.0, 0), WakeBucket(8.0, None, 1))
    first, second, third = (line.replace("█", "#") for line in histogram(buckets))
    assert first == "2.0 ms to 4.0 ms  400  " + 40 * "#"
    assert second == "4.0 ms to 8.0 ms    0"
    assert third == " 8.0 ms and more    1  #"


def test_a_terminal_without_blocks_gets_bars_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with io.TextIOWrapper(io.BytesIO(), "ascii") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        assert [bar(count, 2_000_000) for count in (0, 1, 1_000_000)] == ["", "#", 20 * "#"]


def test_one_that_has_never_woken_says_so(control: FakeControl, lambent: Lambent) -> None:
    never = WakeStatistics(total=spread(0, 0.0), by_temperature={}, buckets=())
    detail = msgspec.structs.replace(DETAIL, wakes=(), wake_statistics=never)
    control.tell("GET", "/api/v1/deployments/hello", json_told(detail))
    assert lambent("show", "hello", "--wakes").out == "hello has not been woken since the server started\n"


def test_json_has_the_same_numbers(control: FakeControl, lambent: Lambent) -> None:
    control.tell("GET", "/api/v1/deployments/hello", json_told(WOKEN))
    told = json.loads(lambent("show", "hello", "--wakes", "--json").out)
    assert told["wakes"][0]["parts_ms"]["import"] == 1500.0
    assert told["wake_statistics"]["by_temperature"]["primed"]["p99_ms"] == 3.5
    assert told["wake_statistics"]["buckets"][0] == {"from_ms": 2.0, "to_ms": 4.0, "count": 40}


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-5, "3.2 ms from primed, just now"),
        (0.9, "3.2 ms from primed, just now"),
        (59, "3.2 ms from primed, 59 s ago"),
        (60, "3.2 ms from primed, 1 min ago"),
        (7_199, "3.2 ms from primed, 1 h ago"),
        (400_000, "3.2 ms from primed, 4 d ago"),
    ],
)
def test_a_wake_in_short(seconds: float, told: str) -> None:
    wake = HELLO.last_wake
    assert wake is not None
    assert in_short(wake, now_unix_ms=wake.at_unix_ms + int(seconds * 1000)) == told


def test_no_wake_is_a_dash() -> None:
    assert in_short(None, now_unix_ms=0) == "-"
