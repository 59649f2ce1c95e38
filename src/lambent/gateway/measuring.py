"""The metrics of the page on their way to an OTLP receiver, every so often and beside the request path.

What is told is what has been counted since the server started: a receiver that was not there has missed
nothing by the next time, so nothing is tried twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Final

from lambent.core.points import Histogram, Measured, Number
from lambent.core.telemetry import Telemetry
from lambent.gateway.exporting import LONGER_S, SETTLE_S, Aside, Post
from lambent.wire import otlp
from lambent.wire.otlp_metrics import Period, metric, points

PIECE: Final = 25  # points that are written at once, in a third of a millisecond

log = logging.getLogger(__name__)


class MetricsExporter:
    """Tells a receiver of the metrics. `post` blocks and never raises."""

    def __init__(
        self,
        telemetry: Telemetry,
        measured: Callable[[], Iterable[Measured]],
        *,
        unix_ns: Callable[[], int],
        encoder: otlp.Encoder,
        post: Post,
    ) -> None:
        self._telemetry: Final = telemetry
        self._measured: Final = measured
        self._unix_ns: Final = unix_ns
        self._start_unix_ns: Final = unix_ns()
        self._encoder: Final = encoder
        self._post: Final = Aside(post, within_s=telemetry.timeout_s + LONGER_S)
        self._stop: Final = asyncio.Event()
        self._settled: Final = asyncio.Event()
        self._troubled = False

    async def run(self) -> None:
        """Tell them whenever it is time, until cancelled, and once more at the end."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._telemetry.every_s):
                    await self._stop.wait()
            is_last = self._stop.is_set()
            await self._send()
            if is_last:
                self._settled.set()
                return

    async def settle(self) -> None:
        """Nothing more will be counted: tell it, as long as a stop may take."""
        self._stop.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await self._settled.wait()

    async def _send(self) -> None:
        said = await self._post(await self._written())
        rejected = otlp.rejected(said.body) if 200 <= said.status < 300 else 0
        if 200 <= said.status < 300 and not rejected:
            self._troubled = False
        elif not self._troubled:  # said once, until it is well again
            self._troubled = True
            reason = said.body[:500].decode("utf-8", "replace")
            about = {"url": self._telemetry.url, "status": said.status, "reason": reason, "points": rejected}
            log.warning("metrics_not_exported", extra=about)

    async def _written(self) -> bytes:
        """As a request, made in pieces between which others have their turn."""
        period = Period(self._start_unix_ns, self._unix_ns())
        written = []
        for measured in self._measured():
            pieces = []
            for piece in _pieces(measured):
                pieces.append(points(piece, period))
                await asyncio.sleep(0)
            if pieces:
                written.append(metric(measured, pieces))
        return self._encoder.request(written)


def _pieces(measured: Measured) -> Iterator[list[Number | Histogram]]:
    while piece := list(islice(measured.points, PIECE)):
        yield piece
