"""What a job says of itself while it runs: sent at a bounded rate, its metrics as curves of bounded size."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, SupportsFloat

import msgspec

from lambent.clock import Clock
from lambent.core.series import BATCH_POINTS_MAX, NAMES_MAX, STEP_MAX, Series
from lambent.wire.oneshot import News

Metric = SupportsFloat

NEWS_PER_S_MAX: Final = 10
# So many may go at once after a while of silence: what is logged in the same moment need not wait for more.
NEWS_AT_ONCE_MAX: Final = 20


# Calls something after so many seconds, perhaps in another thread.
Later = Callable[[float, Callable[[], None]], None]


def in_a_while(after_s: float, then: Callable[[], None]) -> None:
    """By a thread that is gone when it has done it: it exists only while something waits to be sent."""
    timer = threading.Timer(after_s, then)
    timer.daemon = True
    with suppress(RuntimeError):  # no more threads can be had: it goes along with what is said next
        timer.start()


class NewsDesk:
    """Sends news and loses none: what comes too early goes along with the next. Safe for threads.

    A process that user code forks from the worker's says nothing: the way to the server is not its own.
    """

    def __init__(self, notify: Callable[[bytes], None], clock: Clock, later: Later) -> None:
        self._notify: Final = notify
        self._clock: Final = clock
        self._later: Final = later
        self._is_timed = False
        self._lock: Final = threading.Lock()  # user code may log from a thread of its own
        self._pid: Final = os.getpid()
        self._series = Series()
        self._metrics: dict[str, float] = {}  # the last of each, unless it has been sent
        self._progress: float | None = None
        self._message = ""
        self._step: int | None = None
        self._pending = False
        self._closed = False
        self._credit = float(NEWS_AT_ONCE_MAX)
        self._counted_s = clock.now_s()  # as of when the credit is counted

    def add(
        self, step: int | None, progress: float | None, message: str, metrics: Mapping[str, Metric]
    ) -> None:
        """Say this. Raises `TypeError` for a metric that is no number; nothing is said then."""
        found = {name: number(name, value) for name, value in metrics.items()}
        if os.getpid() != self._pid:
            return
        with self._lock:
            if progress is not None:
                self._progress = progress
            if step is not None:
                step = self._step = max(-STEP_MAX, min(STEP_MAX, step))
            self._message = message or self._message
            for name, value in found.items():
                self._point(name, value, step)
            self._pending = True
            self._send_if_due()

    def flush(self) -> None:
        """Send what waits, if it is time."""
        if self._pending and os.getpid() == self._pid:
            with self._lock:
                self._send_if_due()

    def standing(self) -> dict[str, int]:
        """How far each metric is that is logged without a step."""
        with self._lock:
            return self._series.next_steps()

    def go_on(self, standing: dict[str, int]) -> None:
        """Let them go on from there, unless this worker has logged something itself."""
        with self._lock:
            if not self._series:
                self._series = Series(standing)

    def close(self) -> None:
        """Send all that waits; nothing is sent after it."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            while self._pending and not self._closed:
                self._send()
            self._closed = True

    def _point(self, name: str, value: float, step: int | None) -> None:
        if not math.isfinite(value):
            self._series.skip(name)
            return
        self._series.add(name, value, step)
        if name in self._metrics or len(self._metrics) < NAMES_MAX:
            self._metrics[name] = value

    def _send_if_due(self) -> None:
        now_s = self._clock.now_s()
        earned = (now_s - self._counted_s) * NEWS_PER_S_MAX
        self._credit = min(float(NEWS_AT_ONCE_MAX), self._credit + earned)
        self._counted_s = now_s
        if self._closed:
            return
        if self._credit >= 1:
            self._credit -= 1
            self._send()
        if self._pending and not self._is_timed:
            self._is_timed = True
            self._later(max(0.0, 1 - self._credit) / NEWS_PER_S_MAX, self._timed)

    def _timed(self) -> None:
        """What was too early goes now: the job may be silent for long."""
        with self._lock:
            self._is_timed = False
            if self._pending:
                self._send_if_due()

    def _send(self) -> None:
        curves = self._series.take()
        news = News(self._progress, self._message, self._step, self._metrics, curves)
        self._metrics, self._progress, self._message, self._step = {}, None, "", None
        # There may be more than goes at once.
        self._pending = sum(len(batch.steps) + 1 for batch in curves.values()) >= BATCH_POINTS_MAX
        if news != NOTHING_NEW:
            self._notify(msgspec.json.encode(news))


NOTHING_NEW: Final = News()


def number(name: str, value: Metric) -> float:
    """A metric as a plain number, which may be infinite or NaN. Raises `TypeError`."""
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError) as error:
        raise TypeError(f"metric {name}={value!r} is not a number") from error


def numbers(metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Metrics as plain numbers, without infinities and NaN, which JSON cannot say. Raises `TypeError`."""
    found = {name: number(name, value) for name, value in metrics.items()}
    return {name: value for name, value in found.items() if math.isfinite(value)}
