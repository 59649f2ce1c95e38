"""How wakes are shown: one in a few words, the last ones part by part, all of them as bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import click

from lambent.cli.output import age, bar, duration, plural, table, when
from lambent.core.waking import Part
from lambent.wire.api import WakeBucket, WakeSpread, WakeStatistics, WakeView

P = Part
# What is told of a wake, by column; the rest of it is `P.OTHER`.
COLUMNS: Final[Mapping[str, tuple[Part, ...]]] = {
    "EXEC": (P.EXEC,),
    "IMPORT": (P.IMPORT,),
    "FORK": (P.FORK,),
    "LOAD/INIT": (P.LOAD, P.SPAWN, P.INIT, P.PRACTICE),
    "PROBE": (P.PROBE,),
    "RESTORE": (P.RESTORE,),
    "OTHER": (P.OTHER,),
}
AROUND: Final[Mapping[str, tuple[Part, ...]]] = {"QUEUE": (P.QUEUE,), "FIRST RUN": (P.FIRST_RUN,)}
EXPLAINED: Final = (
    "Milliseconds. TOTAL goes from the decision to start a worker until it took calls; "
    "QUEUE is what its first call\nwaited besides, FIRST RUN what that took in user code."
)


def in_short(wake: WakeView | None, *, now_unix_ms: int) -> str:
    """How long it took, from where, and how long ago; a dash where there was none."""
    if wake is None:
        return "-"
    ago = age(wake.at_unix_ms, now_unix_ms=now_unix_ms)
    return f"{duration(wake.total_ms)} from {wake.temperature}, {ago}"


def show_wakes(name: str, wakes: Sequence[WakeView], statistics: WakeStatistics | None) -> None:
    """Print the anatomy of the last wakes and how all of them spread."""
    if statistics is None or not statistics.total.count:
        click.echo(f"{name} has not been woken since the server started")
        return
    table(
        ["WOKEN", "REV", "FROM", *COLUMNS, "TOTAL", *AROUND],
        [_row(wake) for wake in wakes],
        right=("REV", *COLUMNS, "TOTAL", *AROUND),
    )
    click.echo(EXPLAINED)
    click.echo()
    _show_spread(statistics)
    click.echo()
    for line in histogram(statistics.buckets):
        click.echo(line)


def histogram(buckets: Sequence[WakeBucket]) -> Iterator[str]:
    """A line for each bucket: its bounds, how many wakes it holds, a bar."""
    most = max((bucket.count for bucket in buckets), default=0)
    bounds = [_bounds(bucket) for bucket in buckets]
    width, digits = max(map(len, bounds), default=0), len(str(most))
    for bound, bucket in zip(bounds, buckets, strict=True):
        yield f"{bound.rjust(width)}  {bucket.count:>{digits}}  {bar(bucket.count, most)}".rstrip()


def _show_spread(statistics: WakeStatistics) -> None:
    click.echo(f"{plural(statistics.total.count, 'wake')} since the server started, how long they took:")
    spreads = {f"from {name}": spread for name, spread in statistics.by_temperature.items()}
    table(
        ["", "WAKES", "SHORTEST", "P50", "P99", "LONGEST"],
        [_spread(name, spread) for name, spread in {**spreads, "all": statistics.total}.items()],
        right=("WAKES", "SHORTEST", "P50", "P99", "LONGEST"),
    )


def _row(wake: WakeView) -> list[str]:
    return [
        when(wake.at_unix_ms),
        str(wake.number),
        wake.temperature,
        *(_part(wake, of) for of in COLUMNS.values()),
        f"{wake.total_ms:,.1f}",
        *(_part(wake, of) for of in AROUND.values()),
    ]


def _part(wake: WakeView, of: Sequence[Part]) -> str:
    found = [wake.parts_ms[part] for part in of if part in wake.parts_ms]
    return f"{sum(found):,.1f}" if found else "-"


def _spread(name: str, spread: WakeSpread) -> list[str]:
    times = (spread.min_ms, spread.p50_ms, spread.p99_ms, spread.max_ms)
    return [name, str(spread.count), *map(duration, times)]


def _bounds(bucket: WakeBucket) -> str:
    if bucket.to_ms is None:
        return f"{duration(bucket.from_ms)} and more"
    return f"{duration(bucket.from_ms)} to {duration(bucket.to_ms)}"
