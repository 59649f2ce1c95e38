"""How functions are made and changed: a new revision, active at once, prepared in the background.

As on AWS, code that cannot be imported is no reason to refuse it: whoever invokes it hears why. So a revision
is committed first. What is `Pending` or `InProgress` then is its load, after which the first call is quick.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.control.activation import Activation
from lambent.control.aws.books import Books
from lambent.control.aws.found import PENDING, READY, UPDATING, Finder, Function, Status
from lambent.control.aws.state import AliasBook, FunctionBook, Kind
from lambent.control.holding import Names, to_its_end
from lambent.core.errors import LambentError
from lambent.core.spec import DeploymentSpec
from lambent.core.spec import Kind as DeploymentKind
from lambent.storage.aliases import Alias, Aliases
from lambent.storage.base import Deployment, Revision, revision_id
from lambent.wire.aws.faults import Fault, bad_parameter, conflict, not_found, outdated
from lambent.wire.aws.names import LATEST, FunctionName, Place

log = logging.getLogger(__name__)

# Of a hundred functions that are made at once all answer at once; they are prepared a few at a time.
LOADS_AT_ONCE_MAX: Final = 4

Change = Callable[[Function], Awaitable[tuple[DeploymentSpec, FunctionBook]]]


def new_revision_id() -> str:
    """A name for the state of something, which changes with each change of it."""
    return str(uuid.uuid4())


class Preparing(msgspec.Struct, frozen=True, kw_only=True):
    """A load under way, what is told meanwhile, and the version that was published of it, if one was."""

    task: asyncio.Task[None]
    status: Status
    version: str = ""


class Maker:
    """Makes functions and changes them, one change of a function at a time."""

    def __init__(
        self,
        *,
        finder: Finder,
        books: Books,
        aliases: Aliases,
        activation: Activation,
        names: Names,
        clock: Clock,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.names: Final = names
        self._finder: Final = finder
        self._books: Final = books
        self._aliases: Final = aliases
        self._activation: Final = activation
        self._clock: Final = clock
        self._tasks: Final = tasks
        self._turns: Final = asyncio.Semaphore(LOADS_AT_ONCE_MAX)
        self._preparing: Final[dict[tuple[str, str], Preparing]] = {}

    def status(self, project: str, name: str, version: str = LATEST) -> Status:
        """What is going on with a function, or with one version of it."""
        found = self._preparing.get((project, name))
        if found is None:
            return READY
        if version == LATEST:
            return found.status
        return PENDING if version == found.version else READY

    def published(self, project: str, name: str, version: str) -> None:
        """Tell of a version that it is as ready as what it was made of."""
        if (found := self._preparing.get((project, name))) is not None:
            self._preparing[project, name] = msgspec.structs.replace(found, version=version)

    async def create(self, project: str, spec: DeploymentSpec, book: FunctionBook) -> Function:
        """Make a function. Whoever calls holds its name. Raises `Fault` where there is one."""
        if await self._finder.find(project, spec.name) is not None:
            raise conflict(f"Function already exist: {spec.name}")
        wanted = await self._activation.wanted(project, spec, book.code.digest, None)
        made = await to_its_end(self._commit(wanted, book, app=""))
        self._prepare(made, PENDING)
        return made

    async def change(
        self, project: str, place: Place, name: FunctionName, change: Change, revision_id: str | None
    ) -> Function:
        """Change a function's code or its configuration.

        Raises `Fault` where it is not there, is being changed, or is not as `revision_id` says.
        """
        if self.names.busy(project, name.name):
            raise _in_progress(place.function_arn(name.name))
        async with self.names.held(project, [name.name]):
            before = await self._finder.function(project, place, name)
            self.check_settled(project, place, name.name)
            if revision_id is not None and revision_id != before.book.revision_id:
                raise outdated()
            if before.spec.kind is not DeploymentKind.FUNCTION:
                raise bad_parameter(f"{name.name} is a {before.spec.kind}: change it with `lambent deploy`")
            spec, book = await change(before)
            book = msgspec.structs.replace(
                book, revision_id=new_revision_id(), modified_unix_ms=self._clock.unix_ms()
            )
            wanted = await self._activation.wanted(project, spec, book.code.digest, None)
            made = await to_its_end(self._commit(wanted, book, app=before.deployment.app))
            self._prepare(made, UPDATING)
            return made

    async def retune(self, function: Function, spec: DeploymentSpec) -> None:
        """Let what is $LATEST run as `spec` says, without telling of a change. Its name is held."""
        project, model = function.deployment.project, None
        wanted = await self._activation.wanted(project, spec, function.revision.code_digest, model)
        made = await self._activation.commit(wanted, app=function.deployment.app, model=model)
        await self._follow(made)
        self._prepare(msgspec.structs.replace(function, revision=made), READY)

    def check_settled(self, project: str, place: Place, name: str) -> None:
        """Raise `Fault` while a function is being made or changed."""
        if (status := self.status(project, name)) is READY:
            return
        if status is PENDING:
            raise conflict(
                "The operation cannot be performed at this time. The function is currently in the following "
                "state: Pending"
            )
        raise _in_progress(place.function_arn(name))

    async def keep_version(self, function: Function, spec: DeploymentSpec, number: str) -> Revision:
        """Keep a revision for a version of a function, beside what is active. Its name is held."""
        project, before = function.deployment.project, function.revision
        digest = before.model_digest
        wanted = msgspec.structs.replace(
            before,
            id=revision_id(project, spec, code_digest=before.code_digest, model_digest=digest),
            spec=spec,
            created_unix_ms=self._clock.unix_ms(),
        )
        alias = self.alias(function.deployment, number, wanted.id)
        return await asyncio.to_thread(self._aliases.keep, wanted, alias)

    def alias(self, deployment: Deployment, name: str, revision: str) -> Alias:
        """An alias of ours that names one revision."""
        return Alias(
            project=deployment.project,
            deployment=deployment.name,
            name=name,
            revision=revision,
            changed_unix_ms=self._clock.unix_ms(),
        )

    async def reroute(self, project: str, name: str) -> None:
        """Let what is stored of a function answer. Its name is held."""
        found = await self._finder.find(project, name)
        if found is not None:
            await self._activation.route(found.revision)

    def forget(self, project: str, name: str) -> None:
        """Nothing is prepared for a function that is gone."""
        found = self._preparing.pop((project, name), None)
        if found is not None:
            found.task.cancel()

    async def _commit(self, wanted: Revision, book: FunctionBook, *, app: str) -> Function:
        project, name = wanted.project, wanted.deployment
        made = await self._activation.commit(wanted, app=app, model=None)
        await self._books.put(project, Kind.FUNCTION, name, book)
        await self._follow(made)
        found = await self._finder.find(project, name)
        if found is None:
            raise not_found(name)
        return found

    async def _follow(self, latest: Revision) -> None:
        """Let the aliases of $LATEST stand for what is it now."""
        project, name = latest.project, latest.deployment
        books = await self._books.all(AliasBook, project, Kind.ALIAS, name)
        following = [alias for alias, book in books.items() if book.function_version == LATEST]
        for alias in following:
            put = Alias(
                project=project, deployment=name, name=alias, revision=latest.id,
                changed_unix_ms=self._clock.unix_ms(),
            )  # fmt: skip
            await asyncio.to_thread(self._aliases.put, put)
        if following:
            await self._activation.route(latest)

    def _prepare(self, function: Function, status: Status) -> None:
        key = (function.deployment.project, function.name)
        task = self._tasks.create_task(self._load(key, function.revision), name=f"prepare {function.name}")
        self._preparing[key] = Preparing(task=task, status=status)

    async def _load(self, key: tuple[str, str], revision: Revision) -> None:
        try:
            async with self._turns:
                await self._activation.load(revision)
        except LambentError:
            pass  # whoever invokes it is told
        except Exception:
            log.exception("prepare_crashed", extra={"deployment": revision.deployment})
        finally:
            found = self._preparing.get(key)
            if found is not None and found.task is asyncio.current_task():
                del self._preparing[key]


def _in_progress(arn: str) -> Fault:
    return conflict(
        f"The operation cannot be performed at this time. An update is in progress for resource: {arn}"
    )
