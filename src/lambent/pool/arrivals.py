"""Each deployment's forecast, fed with the differences of a counter that the request path only raises."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

import msgspec

from lambent.core.crowd import Crowd
from lambent.core.forecasting import Forecast
from lambent.core.histogram import Grid
from lambent.pool.pool import Pool
from lambent.pool.routes import Route

RESOLUTION_S: Final = 1.0
PUBLISH_S: Final = 60.0  # from one table of the crowd to the next
FRESH_SHARE: Final = 0.05  # of the idle time: for so long a rate is taken to hold


class Outlook(msgspec.Struct, frozen=True):
    """Arrivals per second, the highest until a wake begun now would be done, and when that changes next."""

    rate: float
    changes_s: float


UNKNOWN: Final = Outlook(0.0, inf)


class _Seen:
    __slots__ = ("arrivals", "forecast", "fresh_until_s", "last_s", "outlook")

    def __init__(self, forecast: Forecast) -> None:
        self.forecast = forecast
        self.arrivals = 0
        self.outlook = UNKNOWN
        self.last_s = self.fresh_until_s = 0.0


class Arrivals:
    """Forecasts by deployment: a deploy does not make one forget. Bounded by what is deployed."""

    def __init__(self, pool: Pool) -> None:
        self._pool: Final = pool
        self._grid: Final = Grid(RESOLUTION_S)
        self._crowd: Final = Crowd(self._grid)
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._published_s = 0.0

    def sample(self, routes: Sequence[Route], now_s: float) -> int:
        """Look at every counter; how many have moved. Calls between two looks count as one arrival."""
        moved = 0
        for route in routes:
            arrivals = self._pool.traffic(route.project, route.name).arrivals
            seen = self._seen.get((route.project, route.name))
            if seen is None:
                seen = self._seen[route.project, route.name] = _Seen(Forecast(self._grid, self._crowd))
            if arrivals != seen.arrivals:
                seen.arrivals = arrivals
                seen.forecast.arrive(now_s)
                seen.last_s = seen.fresh_until_s = now_s
                moved += 1
        if now_s - self._published_s >= PUBLISH_S:
            self._published_s = now_s
            self._crowd.publish()
        return moved

    def outlook(self, project: str, name: str, now_s: float, *, lead_s: float) -> Outlook:
        """What is to be expected of a deployment that takes `lead_s` to be made ready."""
        seen = self._seen.get((project, name))
        if seen is None or not seen.arrivals:
            return UNKNOWN
        if now_s >= seen.fresh_until_s:
            outlook = seen.outlook = _outlook(seen.forecast, now_s, lead_s)
            fresh_s = max(RESOLUTION_S, FRESH_SHARE * (now_s - seen.last_s))
            seen.fresh_until_s = min(outlook.changes_s, now_s + fresh_s)
        return seen.outlook

    def forget(self, routes: Sequence[Route]) -> None:
        """Remember these alone."""
        names = {(route.project, route.name) for route in routes}
        self._seen = {key: seen for key, seen in self._seen.items() if key in names}


def _outlook(forecast: Forecast, now_s: float, lead_s: float) -> Outlook:
    forecast.advance(now_s)
    if forecast.changes_s > now_s + lead_s:
        return Outlook(forecast.rate, forecast.changes_s - lead_s)
    rate = max(stretch.rate for stretch in forecast.outlook(lead_s))
    return Outlook(max(rate, forecast.rate), forecast.changes_s)
