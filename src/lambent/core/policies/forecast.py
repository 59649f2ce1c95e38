"""Ours: each revision's forecast, with the crowd of all revisions as prior."""

from __future__ import annotations

from lambent.core.crowd import Crowd
from lambent.core.forecasting import Forecast
from lambent.core.histogram import Grid
from lambent.core.policies.base import Tell


class Foreseen:
    """Forecasts of so many revisions that are known to `resolution_s`. A `Foresight`."""

    def __init__(self, revisions: int, resolution_s: float) -> None:
        grid = Grid(resolution_s)
        self._crowd = Crowd(grid)
        self._forecasts = [Forecast(grid, self._crowd) for _ in range(revisions)]

    def arrive(self, revision: int, now_s: float) -> None:
        """The revision is called now."""
        self._forecasts[revision].arrive(now_s)

    def advance(self, revision: int, now_s: float, tell: Tell | None = None) -> None:
        """It was not called until now."""
        self._forecasts[revision].advance(now_s, tell)

    def rate(self, revision: int) -> float:
        """Arrivals per second at the present."""
        return self._forecasts[revision].rate

    def last_arrival_s(self, revision: int) -> float | None:
        """When it was called last."""
        return self._forecasts[revision].last_arrival_s

    def publish(self) -> None:
        """The crowd's table is made anew."""
        self._crowd.publish()
