"""`/v1/fine_tuning/jobs`: a face of runs of the job that trains a model."""

from __future__ import annotations

import asyncio
import re
import secrets
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol

import msgspec

from lambent.clock import Clock
from lambent.core.errors import NotFound
from lambent.core.invocation import Role
from lambent.core.naming import name_and_alias
from lambent.core.running import PLAIN, RunTerms
from lambent.core.series import Points
from lambent.core.spec import Kind, Param
from lambent.gateway.protocols.openai.files import FileOperations, Json
from lambent.gateway.protocols.openai.offline import Call, Operation
from lambent.gateway.protocols.openai.tuned import checkpoints_of, events_of, job_shown
from lambent.pool.routes import Route, Routes
from lambent.storage.base import Run
from lambent.storage.files import Files
from lambent.storage.records import Records, record_of, value_of
from lambent.wire.datasets import DatasetReply, DatasetView
from lambent.wire.openai.asked import read
from lambent.wire.openai.files import StoredFile, page
from lambent.wire.openai.tuning import AUTO, PURPOSE, SEED_MAX, TuningBody, TuningJob, job_id
from lambent.wire.speech import Refused

KIND: Final = "openai.fine_tuning"
PATH: Final = "/v1/fine_tuning/jobs"
PIECE_BYTES: Final = 1 << 20
LINE_BYTES_MAX: Final = 64 << 20
LINES: Final = (".jsonl", ".ndjson")
LINE: Final = msgspec.json.Decoder(dict[str, Any])
ENDING: Final = re.compile(r"\.[a-z0-9]{1,16}")
METADATA: Final = re.compile(r"metadata\[(.{1,64})\]")


class Runner(Protocol):
    """Who starts jobs."""

    async def start(
        self, project: str, job: str, params: Mapping[str, Param], *, terms: RunTerms = PLAIN
    ) -> Run:
        """Start a run and return it. Raises `NotFound`, `QueueFull`."""

    async def cancel(self, project: str, run: str) -> Run:
        """Let it end now. Raises `NotFound`, `Conflict`."""

    def now(self, run: Run) -> Run:
        """A stored run as it stands at this moment."""


class StoredRuns(Protocol):
    """Runs as they are stored. Blocks."""

    def find(self, run: str) -> Run | None: ...


class Curves(Protocol):
    """Who has the curves of runs."""

    async def points(self, run: str) -> Mapping[str, Points]:
        """All curves of a run as they are now."""


class Shelf(Protocol):
    """Who takes datasets in."""

    async def add(self, project: str, name: str, stream: AsyncIterator[bytes]) -> DatasetReply:
        """An archive as the next version of a dataset."""

    async def remove(self, project: str, name: str, number: int | None) -> Sequence[DatasetView]:
        """Remove a version; its files stay for the runs that are held to it. Raises `NotFound`."""


class Tuning:
    """What fine-tuning jobs are made of: starts them, and finds them again."""

    def __init__(
        self,
        records: Records,
        files: FileOperations,
        shelf: Shelf,
        routes: Routes,
        *,
        runner: Runner,
        runs: StoredRuns,
        clock: Clock,
    ) -> None:
        self._records: Final = records
        self._files: Final = files
        self._shelf: Final = shelf
        self._routes: Final = routes
        self._runner: Final = runner
        self._runs: Final = runs
        self._clock: Final = clock
        self._turn: Final = asyncio.Lock()

    async def begin(self, project: str, body: TuningBody, contents: Files) -> tuple[TuningJob, Run]:
        """A new one, on disk once this returns. Raises `Refused`, `QueueFull`, `StorageFull`."""
        hyperparameters = body.check()
        route = self._trained(project, body.model)
        files = [await self._file(project, body.training_file, "training_file")]
        if body.validation_file is not None:
            files.append(await self._file(project, body.validation_file, "validation_file"))
        for file, field in zip(files, ("training_file", "validation_file"), strict=False):
            await asyncio.to_thread(_check_lines, file, contents.path(file), field)
        seed = secrets.randbelow(SEED_MAX) if body.seed is None else body.seed
        params = {name: value for name, value in hyperparameters.items() if value != AUTO}
        given = {
            "training_file": body.training_file,
            "validation_file": body.validation_file,
            "suffix": body.suffix,
        }
        params |= {name: value for name, value in given.items() if value is not None} | {"seed": seed}
        run = await self._start(route, params, {one.id: (one, contents.path(one)) for one in files})
        job = TuningJob(
            id=job_id(run.id),
            project=project,
            run=run.id,
            model=body.model,
            deployment=route.name,
            training_file=body.training_file,
            validation_file=body.validation_file,
            hyperparameters=hyperparameters,
            seed=seed,
            suffix=body.suffix,
            metadata=body.metadata,
            created_unix_ms=self._clock.unix_ms(),
        )
        await asyncio.to_thread(self._records.put, record_of(KIND, job))
        return job, self._runner.now(run)

    async def find(self, project: str, job: str) -> tuple[TuningJob, Run]:
        """One as it stands. Raises `NotFound`, also once its run is forgotten."""
        record = await asyncio.to_thread(self._records.find, project, KIND, job)
        found = (
            None if record is None else await asyncio.to_thread(self._with_run, value_of(record, TuningJob))
        )
        if found is None:
            raise NotFound(f"No such fine-tuning job: {job}")
        return found[0], self._runner.now(found[1])

    async def all(self, project: str) -> Sequence[tuple[TuningJob, Run]]:
        """Newest first."""

        def stored() -> list[tuple[TuningJob, Run]]:
            jobs = [value_of(record, TuningJob) for record in self._records.all(project, KIND)]
            jobs.sort(key=lambda job: (job.created_unix_ms, job.id), reverse=True)
            return [found for job in jobs if (found := self._with_run(job)) is not None]

        return [(job, self._runner.now(run)) for job, run in await asyncio.to_thread(stored)]

    async def cancel(self, project: str, job: str) -> tuple[TuningJob, Run]:
        """Let it end. Raises `NotFound`, and `Conflict` where it has."""
        found, run = await self.find(project, job)
        return found, self._runner.now(await self._runner.cancel(project, run.id))

    async def _start(
        self, route: Route, params: Mapping[str, Param], files: Mapping[str, tuple[StoredFile, Path]]
    ) -> Run:
        """A run held to its files as datasets, which nobody else is shown or held to.

        One at a time, as another with the same file would have it taken away in between.
        """
        async with self._turn:
            held: dict[str, int] = {}
            try:
                for name, (file, path) in files.items():
                    added = await self._shelf.add(route.project, name, _archive(_name_of(file), path))
                    held[name] = added.dataset.number
                terms = RunTerms(for_deployment=route.name, datasets=held)
                return await self._runner.start(route.project, route.spec.train, params, terms=terms)
            finally:
                for name, number in held.items():
                    await self._shelf.remove(route.project, name, number)

    def _with_run(self, job: TuningJob) -> tuple[TuningJob, Run] | None:
        run = self._runs.find(job.run)
        return None if run is None else (job, run)

    def _trained(self, project: str, model: str) -> Route:
        name, alias = name_and_alias(model)
        route = self._routes.get(project, name)
        if route is None or (alias and self._routes.split(project, name, alias) is None):
            raise Refused(
                f"The model `{model[:200]}` does not exist or you do not have access to it.",
                status=404,
                code="model_not_found",
                param="model",
            )
        job = self._routes.get(project, route.spec.train) if route.spec.train else None
        if route.spec.kind is not Kind.MODEL or job is None:
            raise Refused(
                f"The model `{name}` has no job that trains it: give its deployment one by `train=`.",
                code="model_not_available",
                param="model",
            )
        return route

    async def _file(self, project: str, file: str, field: str) -> StoredFile:
        try:
            found = await self._files.find(project, file)
        except NotFound as error:
            raise Refused(f"{error.message[:200]}", code="invalid_" + field, param=field) from error
        if found.purpose != PURPOSE:
            raise Refused(
                f"The file {found.id} has the purpose '{found.purpose}', and this one's is '{PURPOSE}'.",
                code="invalid_value",
                param=field,
            )
        return found


class TuningOperations:
    """What each operation does."""

    def __init__(self, tuning: Tuning, files: Files, curves: Curves) -> None:
        self._tuning: Final = tuning
        self._files: Final = files
        self._curves: Final = curves

    def operations(self) -> Iterator[Operation]:
        """The table. To start a run takes the role that it takes elsewhere."""
        yield Operation("POST", PATH, Role.DEPLOY, self._begin)
        yield Operation("GET", PATH, Role.READ, self._list)
        yield Operation("GET", PATH + "/{id}", Role.READ, self._show)
        yield Operation("POST", PATH + "/{id}/cancel", Role.DEPLOY, self._cancel)
        yield Operation("GET", PATH + "/{id}/events", Role.READ, self._events)
        yield Operation("GET", PATH + "/{id}/checkpoints", Role.READ, self._checkpoints)
        yield Operation("POST", PATH + "/{id}/pause", Role.DEPLOY, self._pause)
        yield Operation("POST", PATH + "/{id}/resume", Role.DEPLOY, self._pause)

    async def _begin(self, call: Call) -> Json:
        asked = read(call.body, TuningBody)
        return job_shown(*await self._tuning.begin(call.principal.project, asked, self._files))

    async def _list(self, call: Call) -> Json:
        wanted = {
            match[1]: value for name, value in call.query.items() if (match := METADATA.fullmatch(name))
        }
        found = await self._tuning.all(call.principal.project)
        jobs = [one for one in found if wanted.items() <= (one[0].metadata or {}).items()]
        return page([job_shown(*one) for one in jobs], call.query)

    async def _show(self, call: Call) -> Json:
        return job_shown(*await self._tuning.find(call.principal.project, call.id))

    async def _cancel(self, call: Call) -> Json:
        return job_shown(*await self._tuning.cancel(call.principal.project, call.id))

    async def _events(self, call: Call) -> Json:
        job, run = await self._tuning.find(call.principal.project, call.id)
        return page(events_of(job, run, await self._curves.points(run.id)), call.query)

    async def _checkpoints(self, call: Call) -> Json:
        return page(checkpoints_of(*await self._tuning.find(call.principal.project, call.id)), call.query)

    async def _pause(self, call: Call) -> Json:
        await self._tuning.find(call.principal.project, call.id)
        raise Refused("A fine-tuning job cannot be paused or resumed here: cancel it.", code="unsupported")


def _name_of(file: StoredFile) -> str:
    """What the file is called in its dataset: its ending says how it is read."""
    ending = PurePosixPath(file.name).suffix.lower()
    return "data" + (ending if ENDING.fullmatch(ending) else LINES[0])


def _check_lines(file: StoredFile, path: Path, field: str) -> None:
    """Raise `Refused` where it is to be JSON line by line and is not. Blocks."""
    if not _name_of(file).endswith(LINES):
        return
    number = 0
    try:
        with path.open("rb") as lines:
            while line := lines.readline(LINE_BYTES_MAX):
                number += 1
                if line.strip():
                    LINE.decode(line)
    except OSError as error:
        raise Refused(f"No such File object: {file.id}", code="invalid_" + field, param=field) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(
            f"Line {number} of {file.id} is no JSON object: {error}", code="invalid_" + field, param=field
        ) from error
    if not file.size_bytes:
        raise Refused(f"The file {file.id} is empty.", code="invalid_" + field, param=field)


async def _archive(name: str, path: Path) -> AsyncIterator[bytes]:
    """A tar with one file."""
    try:
        opened = await asyncio.to_thread(path.open, "rb")
    except OSError as error:  # it was deleted at this moment
        raise Refused(f"No such File object: {path.name}", param="training_file") from error
    with opened as file:
        info = tarfile.TarInfo(name)
        info.size = (await asyncio.to_thread(path.stat)).st_size
        yield info.tobuf()
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece
    yield bytes(-info.size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)
