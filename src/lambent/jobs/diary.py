"""What a run says of itself: its news, bounded, and stored at a bounded rate."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

import msgspec

from lambent.clock import Clock
from lambent.core.slicing import End
from lambent.jobs.book import Book
from lambent.jobs.recorder import Recorder
from lambent.jobs.storing import stored
from lambent.storage.base import Model, Run, RunState
from lambent.wire.frames import FromCall
from lambent.wire.oneshot import NOTHING, JobResult, News
from lambent.wire.typed import from_json

NEWS_EVERY_S: Final = 0.5
TICK_EVERY_S: Final = 5.0
# What is kept of what a job says: its worker is the untrusted side, and each run is stored and listed whole.
MESSAGE_CHARS_MAX: Final = 1000
METRICS_MAX: Final = 1000
METRIC_NAME_CHARS_MAX: Final = 100
RESULT_BYTES_MAX: Final = 256 << 10
UNKEPT: Final = "what it returned is not kept: "


class Diary:
    """A run as it changes; stored at most every `NEWS_EVERY_S`, by one writer at a time."""

    def __init__(
        self, book: Book, clock: Clock, tasks: asyncio.TaskGroup, run: Run, recorder: Recorder
    ) -> None:
        self._book: Final = book
        self._recorder: Final = recorder
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
        if news.curves:
            self._recorder.hear(self.run, news.curves)
        progress = self.run.progress if news.progress is None else min(1.0, max(0.0, news.progress))
        self.change(
            progress=progress,
            message=news.message[:MESSAGE_CHARS_MAX] or self.run.message,
            metrics=bounded({**self.run.metrics, **news.metrics}),
        )

    def change(self, **changes: object) -> None:
        """Let fields of the run have these values; soon they have them on disk, too."""
        self._change(changes, NEWS_EVERY_S)

    def tick(self, **changes: object) -> None:
        """The same for what changes all the time, which may be lost with the server."""
        self._change(changes, TICK_EVERY_S)

    def _change(self, changes: dict[str, Any], every_s: float) -> None:
        self.run = msgspec.structs.replace(self.run, **changes)
        now_s = self._clock.now_s()
        if now_s - self._stored_s >= every_s and (self._writing is None or self._writing.done()):
            self._stored_s = now_s
            self._writing = self._tasks.create_task(self._put(self.run), name=f"news of {self.run.job}")

    def end(
        self, end: End, *, now_unix_ms: int, result: JobResult | None = None, model: Model | None = None
    ) -> None:
        """The run's last state."""
        final = result.metrics if result else {}
        size_bytes = len(bytes(result.value)) if result else 0
        if size_bytes > RESULT_BYTES_MAX:
            said = f"{UNKEPT}it takes {size_bytes} bytes, and {RESULT_BYTES_MAX} are kept"
            self.run = msgspec.structs.replace(self.run, warning=said)
        self.run = msgspec.structs.replace(
            self.run,
            state=end.state,
            exit=end.exit.value,
            reason=end.reason,
            progress=1.0 if end.state is RunState.SUCCEEDED else self.run.progress,
            metrics=bounded({**final, **self.run.metrics, **final}),  # room for the final ones first
            result=_kept(result),
            model_number=model.number if model else None,
            model_refused=model.refused if model else "",
            due_unix_ms=0,
            ended_unix_ms=now_unix_ms,
        )

    async def store(self) -> bool:
        """Store it as it is, after whatever is being stored. Says whether there was room."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
        return await self._put(self.run)

    async def _put(self, run: Run) -> bool:
        return await stored(lambda: self._book.put(run), record=f"run {run.id}")


def _kept(result: JobResult | None) -> str:
    """What the job returned, where it is something and not too much."""
    if result is None or result.value == NOTHING or len(bytes(result.value)) > RESULT_BYTES_MAX:
        return ""
    return bytes(result.value).decode()


def bounded(metrics: Mapping[str, float]) -> dict[str, float]:
    """As many metrics as are kept of a run, their names cut."""
    return {name[:METRIC_NAME_CHARS_MAX]: value for name, value in islice(metrics.items(), METRICS_MAX)}
