"""What runs of jobs leave behind: curves, logs, saved files; and how all of it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from starlette.responses import FileResponse, Response, StreamingResponse

from lambent.control.operations import Asked, Operation, Parameter
from lambent.core.errors import NotFound
from lambent.core.invocation import OCTETS, Role
from lambent.core.series import Points
from lambent.storage.base import Run, Runs
from lambent.wire.runs import MetricsView, SavedView

LINES: Final = "text/plain"
TAIL_LINES: Final = 100
TAIL_LINES_MAX: Final = 10_000


class Curves(Protocol):
    """Who has the curves of runs."""

    async def points(self, run: str) -> Mapping[str, Points]:
        """All curves of a run as they are now."""


class Saved(Protocol):
    """What a saved file is."""

    @property
    def path(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def unix_ms(self) -> int: ...


class Records(Protocol):
    """Who has the files that runs saved. Blocks."""

    def artifacts(self, run: str) -> Sequence[Saved]: ...

    def artifact(self, run: str, path: str) -> Path:
        """Where one of them is. Raises `NotFound`."""


class RunLogs(Protocol):
    """Who has what runs printed."""

    def tail_of_run(self, project: str, run: str, lines: int) -> Sequence[str]:
        """The last lines. Blocks."""

    def follow_run(self, project: str, run: str, from_lines: int) -> AsyncGenerator[str, None]:
        """The last lines, then each as it comes, until the run ends."""


class Forget(Protocol):
    """Who forgets runs."""

    async def __call__(self, run: Run) -> None:
        """Remove a run and all that is kept of it. Raises `Conflict` where it goes on."""


class RunRecordVerbs:
    """Everything under /runs/{run}."""

    def __init__(self, runs: Runs, curves: Curves, records: Records, logs: RunLogs, forget: Forget) -> None:
        self._runs: Final = runs
        self._curves: Final = curves
        self._records: Final = records
        self._logs: Final = logs
        self._forget: Final = forget

    def operations(self) -> Sequence[Operation]:
        """The table."""
        return (
            Operation(
                name="readMetrics",
                method="GET",
                path="/runs/{run}/metrics",
                role=Role.READ,
                summary="The curves of what a run has logged",
                run=self._metrics,
                query=(Parameter("name", "only that of this metric"),),
                reply=MetricsView,
            ),
            Operation(
                name="readRunLogs",
                method="GET",
                path="/runs/{run}/logs",
                role=Role.READ,
                summary="What a run printed, over all its slices",
                run=self._read_logs,
                query=(
                    Parameter("tail", f"how many of the last lines, {TAIL_LINES} unless told", "integer"),
                    Parameter("follow", "go on with what is printed until the run has ended", "boolean"),
                ),
                media=LINES,
            ),
            Operation(
                name="listArtifacts",
                method="GET",
                path="/runs/{run}/artifacts",
                role=Role.READ,
                summary="The files that a run has saved",
                run=self._artifacts,
                reply=tuple[SavedView, ...],
            ),
            Operation(
                name="readArtifact",
                method="GET",
                path="/runs/{run}/artifact",
                role=Role.READ,
                summary="One file that a run has saved",
                run=self._artifact,
                query=(Parameter("path", "as it is listed"),),
                media=OCTETS,
            ),
            Operation(
                name="forgetRun",
                method="DELETE",
                path="/runs/{run}",
                role=Role.DEPLOY,
                summary="Remove a run that has ended, with its curves, logs, checkpoints and files",
                run=self._remove,
                status=204,
            ),
        )

    async def _metrics(self, asked: Asked) -> MetricsView:
        run = await self._found(asked)
        curves, name = await self._curves.points(run.id), asked.text("name")
        if name and name not in curves:
            there = ", ".join(sorted(curves)[:20]) or "none"
            raise NotFound(f"run {run.id} has logged no metric {name!r}; it has {there}")
        return MetricsView(run.id, {name: curves[name]} if name else dict(curves))

    async def _read_logs(self, asked: Asked) -> Response:
        run = await self._found(asked)
        lines = asked.number("tail", TAIL_LINES, low=0, high=TAIL_LINES_MAX)
        if asked.flag("follow"):
            followed = self._logs.follow_run(asked.project, run.id, lines)
            return StreamingResponse((f"{line}\n" async for line in followed), media_type=LINES)
        last = await asyncio.to_thread(self._logs.tail_of_run, asked.project, run.id, lines)
        return Response("".join(f"{line}\n" for line in last), media_type=LINES)

    async def _artifacts(self, asked: Asked) -> tuple[SavedView, ...]:
        run = await self._found(asked)
        saved = await asyncio.to_thread(self._records.artifacts, run.id)
        return tuple(
            SavedView(path=one.path, size_bytes=one.size_bytes, unix_ms=one.unix_ms) for one in saved
        )

    async def _artifact(self, asked: Asked) -> Response:
        run = await self._found(asked)
        path = await asyncio.to_thread(self._records.artifact, run.id, asked.text("path"))
        return FileResponse(path, media_type=OCTETS)

    async def _remove(self, asked: Asked) -> None:
        await self._forget(await self._found(asked))

    async def _found(self, asked: Asked) -> Run:
        run = await asyncio.to_thread(self._runs.find, asked.path["run"])
        if run is None or run.project != asked.project:
            raise NotFound(f"there is no run {asked.path['run']!r}; `lambent runs` lists what there is")
        return run
