"""What a run says of itself: its news, bounded, and stored at a bounded rate."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import islice
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.jobs.storing import stored
from lambent.storage.base import Model, Run, Runs, RunState
from lambent.wire.frames import FromCall
from lambent.wire.oneshot import News
from lambent.wire.typed import from_json

NEWS_EVERY_S: Final = 0.5
# What is kept of what a job says: its worker is the untrusted side, and each run is stored and listed whole.
MESSAGE_CHARS_MAX: Final = 1000
METRICS_MAX: Final = 1000
METRIC_NAME_CHARS_MAX: Final = 100


class Diary:
    """A run as it changes; stored at most every `NEWS_EVERY_S`, by one writer at a time."""

    def __init__(self, runs: Runs, clock: Clock, tasks: asyncio.TaskGroup, run: Run) -> None:
        self._runs: Final = runs
        self._clock: Final = clock
        self._tasks: Final = tasks
        self._stored_s = clock.now_s()
        self._writing: asyncio.Task[bool] | None = None
        self.run = run

    def hear(self, said: FromCall, news_json: bytes) -> None:
        """The worker said something."""
        try:
            news = from_json(news_json, News)
        except msgspec.DecodeError:
            return  # the worker is the untrusted side: what is not news is not kept
        progress = self.run.progress if news.progress is None else min(1.0, max(0.0, news.progress))
        self.run = msgspec.structs.replace(
            self.run,
            progress=progress,
            message=news.message[:MESSAGE_CHARS_MAX] or self.run.message,
            metrics=bounded({**self.run.metrics, **news.metrics}),
        )
        now_s = self._clock.now_s()
        if now_s - self._stored_s >= NEWS_EVERY_S and (self._writing is None or self._writing.done()):
            self._stored_s = now_s
            self._writing = self._tasks.create_task(self._put(self.run), name=f"news of {self.run.job}")

    def end(
        self,
        state: RunState,
        *,
        reason: str = "",
        metrics: Mapping[str, float] | None = None,
        model: Model | None = None,
    ) -> None:
        """The run's last state."""
        final = metrics or {}
        self.run = msgspec.structs.replace(
            self.run,
            state=state,
            reason=reason,
            progress=1.0 if state is RunState.SUCCEEDED else self.run.progress,
            metrics=bounded({**final, **self.run.metrics, **final}),  # room for the final ones first
            model_number=model.number if model else None,
            ended_unix_ms=self._clock.unix_ms(),
        )

    async def store(self) -> bool:
        """Store it as it is, after whatever is being stored. Says whether there was room."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
        return await self._put(self.run)

    async def _put(self, run: Run) -> bool:
        return await stored(lambda: asyncio.to_thread(self._runs.put, run), record=f"run {run.id}")


def bounded(metrics: Mapping[str, float]) -> dict[str, float]:
    """As many metrics as are kept of a run, their names cut."""
    return {name[:METRIC_NAME_CHARS_MAX]: value for name, value in islice(metrics.items(), METRICS_MAX)}
