"""When a revision will be called next, learned from when it was called before.

Five readings of its past are kept, from "it does what the crowd does" to "it comes at exactly these gaps".
Which of them is right differs from one revision to the next: an hourly timer is known after two calls, a
person's habit never to the minute. So each reading is trusted by how well it has foretold this revision so
far (Bayes' rule over readings, with a floor under every trust so that a change of habit is believed within a
few calls). The histogram of gaps is that of *Serverless in the Wild* (Shahrad et al., ATC'20, section 4) in
finer bins and decayed; the mixture and the crowd's prior are added. Nothing here knows a price or a byte.

Between two arrivals time passes in stretches over which all readings are constant: coarse bins, cut by the
fine bins that hold something. One stretch costs a few microseconds, and a day of silence has about fifty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import exp, inf, log1p
from typing import Final

import msgspec

from lambent.core.crowd import RECENT_S, Crowd, recent_class
from lambent.core.histogram import GapHistogram, Grid
from lambent.core.memories import ForecastMemory

# How many imagined gaps of its parent's shape a reading starts with: few, and it learns fast and errs often.
COARSE_PRIORS: Final = (1.0, 5.0)
FINE_PRIORS: Final = (0.3, 3.0)
TRUSTS: Final = 1 + len(COARSE_PRIORS) + len(FINE_PRIORS)
TRUST_MIN: Final = 1e-3
CERTAIN: Final = 0.9999


class Stretch(msgspec.Struct, frozen=True):
    """A span of idle time, in seconds since the last arrival, with arrivals per second in it."""

    start_s: float
    end_s: float
    rate: float


class Forecast:
    """One revision's next arrival. Times are seconds of one monotonic clock; memory is bounded.

    `arrive` and `advance` move the present, which never goes back (an earlier time counts as the present);
    the questions leave everything as it is. Before the first arrival every rate is 0: of a revision that was
    never called nothing is known.
    """

    __slots__ = (
        "_coarse", "_coarse_came", "_coarse_end_s", "_coarse_left", "_coarse_rates", "_crowd", "_end_s",
        "_fine_left", "_gaps", "_grid", "_idle_s", "_key", "_last_s", "_number", "_rates", "_recent",
        "_recent_class", "_trusts",
    )  # fmt: skip

    def __init__(self, grid: Grid, crowd: Crowd) -> None:
        self._grid, self._crowd = grid, crowd
        self._gaps = GapHistogram(grid)
        self._trusts = [1.0 / TRUSTS] * TRUSTS
        self._number = 0
        self._recent = 0.0
        self._rates = [0.0] * TRUSTS
        self._coarse_rates = (0.0, 0.0, 0.0)
        self._last_s = self._idle_s = self._end_s = self._coarse_end_s = self._coarse_came = 0.0
        self._fine_left = self._coarse_left = 0.0
        self._coarse = self._recent_class = 0
        self._key: int | None = None

    def memory(self, now_s: float) -> ForecastMemory | None:
        """What is known at the present, in no clock's time; `None` before the first arrival."""
        if not self._number:
            return None
        return ForecastMemory(
            idle_s=max(0.0, now_s - self._last_s),
            number=self._number,
            recent=self._recent,
            trusts=tuple(self._trusts),
            gaps=self._gaps.memory(),
        )

    @classmethod
    def recalled(
        cls, grid: Grid, crowd: Crowd, memory: ForecastMemory, *, last_s: float, now_s: float
    ) -> Forecast:
        """One that knows what another knew. Since `last_s` nothing came, as far as anybody can tell.

        What was missed while nobody watched is no evidence: neither trust nor the crowd learns from it.
        Raises `ValueError` for a memory of another grid or another number of readings.
        """
        if len(memory.trusts) != TRUSTS or sum(memory.trusts) <= 0.0:
            raise ValueError(f"{len(memory.trusts)} trusts, not {TRUSTS}")
        forecast = cls(grid, crowd)
        forecast._gaps = GapHistogram.recalled(grid, memory.gaps)
        forecast._trusts = list(memory.trusts)
        forecast._number, forecast._recent = memory.number, memory.recent
        forecast._fall_idle(last_s)
        while forecast._idle_s < now_s - last_s:
            forecast._idle_s = min(forecast._end_s, now_s - last_s)
            if forecast._idle_s == forecast._end_s:
                forecast._enter()
        return forecast

    @property
    def last_arrival_s(self) -> float | None:
        """When it was called last; `None` before the first time."""
        return self._last_s if self._number else None

    @property
    def rate(self) -> float:
        """Arrivals per second at the present."""
        return _mean(self._trusts, self._rates) if self._number else 0.0

    @property
    def changes_s(self) -> float:
        """When the rate changes next if nothing arrives; infinity before the first arrival."""
        return self._last_s + self._end_s if self._number else inf

    def arrive(self, now_s: float) -> None:
        """It is called now: every reading is judged by this, and learns it."""
        if self._number:
            gap_s = max(0.0, now_s - self._last_s)
            self.advance(now_s)
            _judge(self._trusts, self._rates)
            self._crowd.arrive(self._coarse, self._recent_class, 1.0 / self._number)
            self._gaps.add(gap_s)
            self._recent *= exp(-gap_s / RECENT_S)
        self._number += 1
        self._recent += 1.0
        self._fall_idle(max(now_s, self._last_s))

    def advance(self, now_s: float, tell: Callable[[float, float, float], None] | None = None) -> None:
        """Nothing came until now. `tell` hears of each stretch passed: start, end (idle seconds), rate."""
        if not self._number:
            return
        idle_s = now_s - self._last_s
        while self._idle_s < idle_s:
            end_s = min(self._end_s, idle_s)
            passed_s = end_s - self._idle_s
            if tell is not None:
                tell(self._idle_s, end_s, _mean(self._trusts, self._rates))
            _endure(self._trusts, self._rates, passed_s)
            self._crowd.expose(self._coarse, self._recent_class, passed_s, 1.0 / self._number)
            self._idle_s = end_s
            if end_s == self._end_s:
                self._enter()

    def outlook(self, seconds: float) -> Sequence[Stretch]:
        """The stretches of so many seconds from the present on, if nothing arrives in them."""
        until_s = self._idle_s + seconds
        if not self._number:
            return [Stretch(0.0, seconds, 0.0)]
        present = {name: getattr(self, name) for name in Forecast.__slots__}
        self._trusts = list(self._trusts)
        try:
            return list(self._walked(until_s))
        finally:
            for name, value in present.items():
                setattr(self, name, value)

    def survival(self, seconds: float) -> float:
        """The probability that nothing arrives within so many seconds from the present."""
        return exp(-sum(part.rate * (part.end_s - part.start_s) for part in self.outlook(seconds)))

    def idle_s(self, seconds: float) -> float:
        """The expected time until the next arrival or the end of so many seconds, whichever is first."""
        alive, expected = 1.0, 0.0
        for stretch in self.outlook(seconds):
            span_s = stretch.end_s - stretch.start_s
            left = exp(-stretch.rate * span_s)
            expected += alive * ((1 - left) / stretch.rate if stretch.rate > 1e-12 else span_s)
            alive *= left
        return expected

    def _fall_idle(self, now_s: float) -> None:
        self._last_s, self._idle_s, self._end_s = now_s, 0.0, 0.0
        self._coarse, self._recent_class = -1, 0
        self._coarse_end_s = self._coarse_came = 0.0
        self._key = None
        self._fine_left = self._coarse_left = self._gaps.weight(self._gaps.total)
        self._enter()

    def _enter(self) -> None:
        """The stretch that begins at the present: its readings, and where it ends."""
        grid, gaps, start_s = self._grid, self._gaps, self._idle_s
        if self._key is not None and start_s >= grid.fine_end_s(self._key):
            self._fine_left -= gaps.weight(gaps.counts[self._key])
            self._key = None
        if start_s >= self._coarse_end_s:
            self._enter_coarse()
        end_s = self._coarse_end_s
        if self._key is None:
            key = gaps.key_after(grid.fine(start_s))
            if key is not None and grid.fine_edges_s[key] <= start_s:
                self._key = key
            elif key is not None and grid.fine_edges_s[key] < end_s:
                end_s = grid.fine_edges_s[key]
        if self._key is not None:
            end_s = min(end_s, grid.fine_end_s(self._key))
        self._end_s = end_s
        crowd, vague, firm = self._coarse_rates
        self._rates = [crowd, vague, firm, *self._fine_rates(firm)]

    def _enter_coarse(self) -> None:
        grid, gaps = self._grid, self._gaps
        self._coarse_left -= self._coarse_came
        self._coarse += 1
        coarse = self._coarse
        self._coarse_end_s = grid.coarse_end_s(coarse)
        self._recent_class = recent_class(self._recent, self._idle_s)
        crowd = self._crowd.rate(coarse, self._recent_class)
        came = self._coarse_came = gaps.weight(gaps.coarse.get(coarse, 0.0))
        left, width_s = max(came, self._coarse_left), grid.widths_s[coarse]
        vague, firm = COARSE_PRIORS
        self._coarse_rates = (
            crowd,
            _shrunk(came, left, crowd, vague, width_s),
            _shrunk(came, left, crowd, firm, width_s),
        )

    def _fine_rates(self, parent: float) -> tuple[float, float]:
        quick, careful = FINE_PRIORS
        if self._key is None:
            left = max(0.0, self._fine_left)
            return parent * quick / (left + quick), parent * careful / (left + careful)
        came = self._gaps.weight(self._gaps.counts[self._key])
        width_s = self._grid.fine_end_s(self._key) - self._grid.fine_edges_s[self._key]
        left = max(came, self._fine_left)
        return _shrunk(came, left, parent, quick, width_s), _shrunk(came, left, parent, careful, width_s)

    def _walked(self, until_s: float) -> Iterator[Stretch]:
        while self._idle_s < until_s:
            end_s = min(self._end_s, until_s)
            yield Stretch(self._idle_s, end_s, self.rate)
            _endure(self._trusts, self._rates, end_s - self._idle_s)
            self._idle_s = end_s
            if end_s == self._end_s:
                self._enter()


def _shrunk(came: float, left: float, parent: float, prior: float, width_s: float) -> float:
    """Arrivals per second in a bin where `came` of `left` gaps ended, and `prior` more like the parent's."""
    expected = 1.0 - exp(-parent * width_s)
    share = min(CERTAIN, (came + prior * expected) / (left + prior))
    return -log1p(-share) / width_s


def _mean(trusts: list[float], rates: list[float]) -> float:
    a, b, c, d, e = trusts
    v, w, x, y, z = rates
    return (a * v + b * w + c * x + d * y + e * z) / (a + b + c + d + e)


# The two below run once or twice for each arrival: written out, they take a third of the time of a loop.


def _endure(trusts: list[float], rates: list[float], seconds: float) -> None:
    """Bayes' rule after silence: who expected an arrival loses trust."""
    a, b, c, d, e = trusts
    v, w, x, y, z = rates
    _settle(
        trusts,
        a * exp(-v * seconds),
        b * exp(-w * seconds),
        c * exp(-x * seconds),
        d * exp(-y * seconds),
        e * exp(-z * seconds),
    )


def _judge(trusts: list[float], rates: list[float]) -> None:
    """Bayes' rule after an arrival: who expected it gains trust."""
    a, b, c, d, e = trusts
    v, w, x, y, z = rates
    _settle(trusts, a * v, b * w, c * x, d * y, e * z)


def _settle(trusts: list[float], a: float, b: float, c: float, d: float, e: float) -> None:
    total = a + b + c + d + e
    if total <= 0.0:  # all of them were sure of the opposite: nobody is better than another
        return
    least = TRUST_MIN * total
    trusts[:] = (
        max(a, least) / total,
        max(b, least) / total,
        max(c, least) / total,
        max(d, least) / total,
        max(e, least) / total,
    )
