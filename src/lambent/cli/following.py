"""Watches a run until it ends: what it prints, how its metrics go, how far it is and what it costs."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

import click
import msgspec

from lambent.cli.curves import sparkline
from lambent.cli.output import dollars, lasting, numbers, one_line
from lambent.clock import SystemClock
from lambent.core.errors import LambentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambent.client.client import Client
    from lambent.core.series import Points
    from lambent.wire.runs import RunView

FINAL: Final = frozenset({"succeeded", "failed", "cancelled", "interrupted"})
POLL_S: Final = 0.5
PLAIN_EVERY_S: Final = 2.0
# A server that is started again is waited for: the run goes on with it.
SILENCE_S_MAX: Final = 120.0
LAST_LINES_S_MAX: Final = 10.0
TAIL_LINES: Final = 1000
CURVES_MAX: Final = 8
NAME_CHARS_MAX: Final = 24
SPARK_CHARS: Final = 40


class Show(Protocol):
    """Where a run is shown."""

    def line(self, text: str) -> None:
        """It printed this. May be called from any thread."""

    def note(self, text: str) -> None:
        """We have this to say."""

    def standing(self, run: RunView, curves: Mapping[str, Points]) -> None:
        """It is so far."""

    def close(self) -> None:
        """No more comes."""


class PlainShow:
    """Lines that a file can hold: what is printed goes to `out`, how the run stands to standard error."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        self._is_quiet: Final = is_quiet  # standard output is for something else
        self._clock: Final = SystemClock()
        self._told = ""
        self._state = ""
        self._due_s = 0.0

    def line(self, text: str) -> None:
        click.echo(text, err=self._is_quiet)

    def note(self, text: str) -> None:
        click.echo(f"{text} ...", err=True)

    def standing(self, run: RunView, curves: Mapping[str, Points]) -> None:
        told, now_s = summary(run), self._clock.now_s()
        if told != self._told and (run.state != self._state or now_s >= self._due_s):
            self._told, self._state, self._due_s = told, run.state, now_s + PLAIN_EVERY_S
            click.echo(f"{told} ...", err=True)

    def close(self) -> None:
        """Nothing to take back."""


class LiveShow:
    """On a terminal: curves that grow below what is printed, and that go when the run has ended."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console: Final = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live: Final = Live(
            console=self._console,
            transient=True,
            refresh_per_second=4,
            vertical_overflow="crop",
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._is_shared: Final = sys.stdout.isatty()  # else what is printed goes to a file
        self._live.start()

    def line(self, text: str) -> None:
        if self._is_shared:
            self._console.print(text, soft_wrap=True)
        else:
            click.echo(text)

    def note(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def standing(self, run: RunView, curves: Mapping[str, Points]) -> None:
        from rich.text import Text

        lines = (line[: self._console.width - 1] for line in live_lines(run, curves))
        self._live.update(Text("\n".join(lines), no_wrap=True, overflow="crop"))

    def close(self) -> None:
        self._live.stop()


def shown(*, is_quiet: bool) -> Show:
    """The way that suits where standard error goes."""
    is_live = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return LiveShow() if is_live and not is_quiet else PlainShow(is_quiet=is_quiet)


def follow(client: Client, run: RunView, show: Show) -> RunView:
    """Show the run until it has ended; how it has.

    A server that is away for a while is waited for. Raises what the client does when it stays away, or
    refuses.
    """
    printing = threading.Thread(target=_print, args=(client, run.run, show), daemon=True)
    try:
        printing.start()
        curves: Mapping[str, Points] = {}
        patience, pause = _Patience(show), threading.Event()
        show.standing(run, curves)
        while run.state not in FINAL:
            pause.wait(POLL_S)
            try:
                before, run = run, client.show_run(run.run)
                if run.metrics != before.metrics or run.message != before.message:
                    curves = client.records.metrics(run.run)
            except LambentError as error:
                patience.lose(error)
                continue
            patience.renew()
            show.standing(run, curves)
        printing.join(LAST_LINES_S_MAX)  # its log ends with it
    finally:
        show.close()
    return run


def summary(run: RunView) -> str:
    """How a run stands, in one line."""
    spent = dollars(run.cost_usd) if run.cost_usd else ""
    ahead = ""
    if run.forecast_usd is not None and run.left_s is not None:
        ahead = f"about {dollars(run.forecast_usd)} and {lasting(run.left_s)} to go"
    parts = (
        f"{run.job}: {run.state}",
        f"{run.progress:.0%}" if run.progress else "",
        f"checkpoint {run.step}" if run.step >= 0 else "",
        f"slice {run.slices}" if run.slices > 1 else "",
        one_line(run.message),
        one_line(run.reason) if run.state not in FINAL else "",
        numbers(run.metrics) if len(run.metrics) <= CURVES_MAX else f"{len(run.metrics)} metrics",
        spent,
        ahead,
    )
    return "  ".join(part for part in parts if part)


def live_lines(run: RunView, curves: Mapping[str, Points]) -> list[str]:
    """How a run stands, with a line for each of its first curves."""
    named = {name: points for name, points in sorted(curves.items()) if points.values}
    head = summary(run if not named else _without_metrics(run))
    shown_names = list(named)[:CURVES_MAX]
    width = max((len(_short(name)) for name in shown_names), default=0)
    lines = [
        f"  {_short(name).ljust(width)}  {sparkline(named[name].values, SPARK_CHARS).ljust(SPARK_CHARS)}  "
        f"{named[name].values[-1]:.4g}"
        for name in shown_names
    ]
    more = [f"  and {len(named) - len(shown_names)} more"] if len(named) > len(shown_names) else []
    return [head, *lines, *more]


class _Patience:
    """How long the server has been silent."""

    def __init__(self, show: Show) -> None:
        self._show: Final = show
        self._clock: Final = SystemClock()
        self._since_s: float | None = None

    def lose(self, error: LambentError) -> None:
        """It is silent. Raises `error` where it has been for too long, or will say the same again."""
        if not error.retryable:
            raise error
        now_s = self._clock.now_s()
        if self._since_s is None:
            self._since_s = now_s
            self._show.note(f"{error.message}: waiting for it")
        if now_s - self._since_s > SILENCE_S_MAX:
            raise error

    def renew(self) -> None:
        """It has answered."""
        self._since_s = None


def _print(client: Client, run: str, show: Show) -> None:
    """What the run prints, until it ends; each line once, also where the server was away meanwhile."""
    seen, pause = "", threading.Event()
    while True:
        try:
            for line in _newer(client.records.follow_logs(run, tail=TAIL_LINES), seen):
                seen = line.split(" ", 1)[0]
                show.line(_text(line))
            if client.show_run(run).state in FINAL:
                return
        except LambentError as error:
            if not error.retryable:
                show.note(f"what it prints cannot be shown: {error.message}")
                return  # else who asks how the run stands hears of it as well
        except Exception as error:  # noqa: BLE001 - a thread of its own: nobody else would hear of it
            show.note(f"what it prints cannot be shown: {error}")
            return
        pause.wait(POLL_S)


def _newer(lines: Iterator[str], seen: str) -> Iterator[str]:
    """Those that were printed after the time `seen`."""
    return (line for line in lines if line.split(" ", 1)[0] > seen)


def _text(line: str) -> str:
    """A line of a log without its time and its worker."""
    return line.split(" ", 2)[-1] if line.count(" ") >= 2 else line


def _short(name: str) -> str:
    line = one_line(name)
    return line if len(line) <= NAME_CHARS_MAX else line[: NAME_CHARS_MAX - 1] + "…"


def _without_metrics(run: RunView) -> RunView:
    return msgspec.structs.replace(run, metrics={})
