"""Reserved concurrency: so many calls at once and no more. Provisioned concurrency: workers that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.control.aws.books import Books
from lambent.control.aws.calls import named
from lambent.control.aws.found import Finder, Function, aws_time
from lambent.control.aws.limits import Limits
from lambent.control.aws.making import Maker
from lambent.control.aws.standing import Standing
from lambent.control.aws.state import FunctionBook, Kind, ProvisionedBook
from lambent.core.invocation import Role
from lambent.core.settings import BOUNDS
from lambent.pool.pool import Pool
from lambent.wire.aws.beside_requests import (
    ListProvisionedResponse,
    ProvisionedConfig,
    PutConcurrencyRequest,
    PutProvisionedRequest,
)
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.faults import Fault, bad_parameter, conflict, refused_untyped
from lambent.wire.aws.functions import Concurrency
from lambent.wire.aws.names import LATEST, FunctionName
from lambent.wire.aws.reading import Query, page, read

RESERVED: Final = "/2017-10-31/functions/{FunctionName}/concurrency"
GET_RESERVED: Final = "/2019-09-30/functions/{FunctionName}/concurrency"
PROVISIONED: Final = "/2019-09-30/functions/{FunctionName}/provisioned-concurrency"
# AWS's own limits for an account, which its clients know.
CONCURRENT_MAX: Final = 1000
UNRESERVED_MIN: Final = 100
WORKERS_MAX: Final = int(BOUNDS["workers_min"][1])
FUNCTIONS_ONLY: Final = (
    "This operation is permitted on Lambda functions only. Aliases and versions do not support this "
    "operation. Please specify either a function name or an unqualified function ARN."
)


class ConcurrencyVerbs:
    """Put, get and delete; of provisioned concurrency also list."""

    def __init__(
        self,
        *,
        finder: Finder,
        maker: Maker,
        books: Books,
        standing: Standing,
        limits: Limits,
        pool: Pool,
        clock: Clock,
    ) -> None:
        self._finder: Final = finder
        self._maker: Final = maker
        self._books: Final = books
        self._standing: Final = standing
        self._limits: Final = limits
        self._pool: Final = pool
        self._clock: Final = clock

    def operations(self) -> Iterator[ControlOperation]:
        """What AWS calls them. One path is for two operations: the query says which."""
        for name, method, path, run in (
            ("PutFunctionConcurrency", "PUT", RESERVED, self._reserve),
            ("GetFunctionConcurrency", "GET", GET_RESERVED, self._reserved),
            ("DeleteFunctionConcurrency", "DELETE", RESERVED, self._unreserve),
            ("PutProvisionedConcurrencyConfig", "PUT", PROVISIONED, self._provision),
            ("GetProvisionedConcurrencyConfig", "GET", PROVISIONED, self._get_or_list),
            ("DeleteProvisionedConcurrencyConfig", "DELETE", PROVISIONED, self._unprovision),
        ):
            yield ControlOperation(name=name, method=method, path=path, run=run)

    async def restore(self, project: str) -> None:
        """At start: let the limits hold."""
        for name, _ in await self._books.of_kind(FunctionBook, project, Kind.FUNCTION):
            await self._limits.apply(project, name)

    async def unreserved(self, project: str, but: str = "") -> int:
        """How many calls at once nobody has reserved, not counting one function."""
        books = await self._books.of_kind(FunctionBook, project, Kind.FUNCTION)
        return CONCURRENT_MAX - sum(book.reserved or 0 for (name, _), book in books.items() if name != but)

    async def _reserve(self, call: Call) -> Answer:
        name, project = named(call, Role.DEPLOY), call.principal.project
        wanted = read(call.body, PutConcurrencyRequest).reserved_concurrent_executions
        if name.qualifier:
            raise bad_parameter(FUNCTIONS_ONLY)
        async with self._maker.names.held(project, [name.name]):
            function = await self._finder.function(project, call.place, FunctionName(name.name, LATEST))
            if await self.unreserved(project, but=name.name) - wanted < UNRESERVED_MIN:
                raise refused_untyped(
                    "Specified ReservedConcurrentExecutions for function decreases account's "
                    f"UnreservedConcurrentExecution below its minimum value of [{UNRESERVED_MIN}]."
                )
            kept = await self._kept(project, name.name)
            if wanted < kept:
                raise refused_untyped(
                    f" ReservedConcurrentExecutions  {wanted} should not be lower than function's total "
                    f"provisioned concurrency [{kept}]."
                )
            await self._keep_reserved(function, wanted)
        return Answer(200, Concurrency(reserved_concurrent_executions=wanted))

    async def _reserved(self, call: Call) -> Answer:
        name = named(call, Role.READ)
        function = await self._finder.function(call.principal.project, call.place, name)
        return Answer(200, Concurrency(reserved_concurrent_executions=function.book.reserved))

    async def _unreserve(self, call: Call) -> Answer:
        name, project = named(call, Role.DEPLOY), call.principal.project
        if name.qualifier:
            raise bad_parameter(FUNCTIONS_ONLY)
        async with self._maker.names.held(project, [name.name]):
            await self._keep_reserved(await self._finder.function(project, call.place, name), None)
        return Answer(204)

    async def _kept(self, project: str, name: str, but: str = "") -> int:
        """How many workers are kept for versions and aliases of a function, not counting one of them."""
        books = await self._books.all(ProvisionedBook, project, Kind.PROVISIONED, name)
        return sum(book.requested for qualifier, book in books.items() if qualifier != but)

    async def _keep_reserved(self, function: Function, wanted: int | None) -> None:
        project, name = function.deployment.project, function.name
        book = msgspec.structs.replace(function.book, reserved=wanted)
        await self._books.put(project, Kind.FUNCTION, name, book)
        await self._limits.apply(project, name)

    async def _provision(self, call: Call) -> Answer:
        name, project = named(call, Role.DEPLOY), call.principal.project
        wanted = read(call.body, PutProvisionedRequest).provisioned_concurrent_executions
        if name.qualifier in ("", LATEST):
            raise bad_parameter(
                "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
            )
        async with self._maker.names.held(project, [name.name]):
            version = await self._finder.version(project, call.place, name)
            latest = await self._finder.function(project, call.place, name)
            kept = await self._kept(project, name.name, but=name.qualifier)
            if latest.book.reserved is not None and kept + wanted > latest.book.reserved:
                raise bad_parameter(
                    "Requested Provisioned Concurrency should not be greater than the "
                    "reservedConcurrentExecution for function"
                )
            self._check_room(wanted, await self.unreserved(project))
            await self._check_alone(latest, name)
            book = ProvisionedBook(requested=wanted, modified_unix_ms=self._clock.unix_ms())
            await self._books.put(project, Kind.PROVISIONED, name.name, book, key=name.qualifier)
            await self._limits.apply(project, name.name)
            await self._keep_workers(version, wanted)
        return Answer(202, self._told(call, name, book, ready=0))

    def _check_room(self, wanted: int, unreserved: int) -> None:
        if wanted > unreserved:
            raise refused_untyped(
                "Specified ConcurrentExecutions for function is greater than account's unreserved "
                f"concurrency [{unreserved}]."
            )
        if unreserved - wanted < UNRESERVED_MIN:
            raise refused_untyped(
                "Specified ConcurrentExecutions for function decreases account's "
                f"UnreservedConcurrentExecution below its minimum value of [{UNRESERVED_MIN}]."
            )
        if wanted > WORKERS_MAX:
            raise bad_parameter(f"Not more than {WORKERS_MAX} workers of one version are kept here.")

    async def _check_alone(self, latest: Function, name: FunctionName) -> None:
        """Workers are kept for a version or for the aliases that stand for it, not for both."""
        project = latest.deployment.project
        provisioned = await self._books.all(ProvisionedBook, project, Kind.PROVISIONED, latest.name)
        aliases = await self._finder.aliases(latest)
        if (alias := aliases.get(name.qualifier)) is not None and alias.function_version in provisioned:
            raise conflict(
                "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned "
                "version"
            )
        if any(aliases[one].function_version == name.qualifier for one in provisioned if one in aliases):
            raise conflict("Version is pointed by a Provisioned Concurrency alias")

    async def _unprovision(self, call: Call) -> Answer:
        name, project = named(call, Role.DEPLOY), call.principal.project
        _check_published(name)
        async with self._maker.names.held(project, [name.name]):
            version = await self._finder.version(project, call.place, name)
            if await self._books.remove(project, Kind.PROVISIONED, name.name, name.qualifier):
                await self._limits.apply(project, name.name)
                await self._keep_workers(version, 0)
        return Answer(204)

    async def _get_or_list(self, call: Call) -> Answer:
        query = Query(call.query)
        if query.word("List", ("ALL",)):
            return await self._list(call, query)
        name, project = named(call, Role.READ), call.principal.project
        _check_published(name)
        version = await self._finder.version(project, call.place, name)
        book = await self._books.find(ProvisionedBook, project, Kind.PROVISIONED, name.name, name.qualifier)
        if book is None:
            text = "No Provisioned Concurrency Config found for this function"
            raise Fault("ProvisionedConcurrencyConfigNotFoundException", 404, text)
        return Answer(200, self._told(call, name, book, ready=self._ready(version)))

    async def _list(self, call: Call, query: Query) -> Answer:
        name, project = named(call, Role.READ), call.principal.project
        latest = await self._finder.function(project, call.place, FunctionName(name.name))
        books = await self._books.all(ProvisionedBook, project, Kind.PROVISIONED, latest.name)
        part, marker = page(sorted(books), query, key=str, asked_most=50)
        listed: list[ProvisionedConfig] = []
        for qualifier in part:
            one = FunctionName(name.name, qualifier)
            version = await self._finder.version(project, call.place, one)
            told = self._told(call, one, books[qualifier], ready=self._ready(version))
            arn = call.place.function_arn(name.name, qualifier)
            listed.append(msgspec.structs.replace(told, function_arn=arn))
        return Answer(
            200, ListProvisionedResponse(provisioned_concurrency_configs=listed, next_marker=marker)
        )

    async def _keep_workers(self, version: Function, wanted: int) -> None:
        spec = version.spec
        changed = msgspec.structs.replace(spec, workers_min=wanted, workers_max=max(spec.workers_max, wanted))
        await self._standing.respecify(version, changed)

    def _ready(self, version: Function) -> int:
        crew = self._pool.crew(version.revision.id)
        return len(crew.members) if crew else 0

    def _told(
        self, call: Call, name: FunctionName, book: ProvisionedBook, *, ready: int
    ) -> ProvisionedConfig:
        available = min(ready, book.requested)
        return ProvisionedConfig(
            requested_provisioned_concurrent_executions=book.requested,
            available_provisioned_concurrent_executions=available,
            allocated_provisioned_concurrent_executions=available,
            status="READY" if available == book.requested else "IN_PROGRESS",
            last_modified=aws_time(book.modified_unix_ms),
        )


def _check_published(name: FunctionName) -> None:
    if name.qualifier in ("", LATEST):
        raise bad_parameter("The function resource provided must be an alias or a published version.")
