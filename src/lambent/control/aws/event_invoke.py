"""How events are tried again: our own retries, under AWS's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.control.aws.books import Books
from lambent.control.aws.calls import named
from lambent.control.aws.event_destinations import check_destinations
from lambent.control.aws.found import Finder, Function
from lambent.control.aws.making import Maker
from lambent.control.aws.standing import Standing
from lambent.control.aws.state import EventInvokeBook, Kind
from lambent.core.deferral import Handling, handled
from lambent.core.invocation import Role
from lambent.core.spec import DeploymentSpec
from lambent.core.spec import Kind as DeploymentKind
from lambent.pool.handlings import Handlings
from lambent.wire.aws.beside_requests import EventInvokeConfig, EventInvokeRequest, ListEventInvokeResponse
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.faults import Fault, bad_parameter, gone
from lambent.wire.aws.names import LATEST, FunctionName, read_name
from lambent.wire.aws.reading import Query, page, read
from lambent.wire.aws.shapes import Destination, DestinationConfig
from lambent.wire.aws.sqs_attributes import name_of_arn

ONE: Final = "/2019-09-25/functions/{FunctionName}/event-invoke-config"
PLAIN: Final = DeploymentSpec(name="-", kind=DeploymentKind.FUNCTION)
USUAL: Final = Handling(retries=PLAIN.retries, async_age_max_s=PLAIN.async_age_max_s)


class EventInvokeVerbs:
    """Put replaces, update merges; get, delete and list."""

    def __init__(
        self,
        *,
        finder: Finder,
        maker: Maker,
        books: Books,
        standing: Standing,
        handlings: Handlings,
        clock: Clock,
    ) -> None:
        self._finder: Final = finder
        self._maker: Final = maker
        self._books: Final = books
        self._standing: Final = standing
        self._handlings: Final = handlings
        self._clock: Final = clock

    async def restore(self, project: str) -> None:
        """At start: what is kept of aliases and versions holds."""
        books = await self._books.of_kind(EventInvokeBook, project, Kind.EVENT_INVOKE)
        for name in {name for name, _ in books}:
            mine = {key: book for (owner, key), book in books.items() if owner == name}
            self._handlings.put(project, name, {key: _handling(book) for key, book in mine.items()})

    def operations(self) -> Iterator[ControlOperation]:
        """What AWS calls them."""
        for name, method, path, run in (
            ("PutFunctionEventInvokeConfig", "PUT", ONE, self._put),
            ("UpdateFunctionEventInvokeConfig", "POST", ONE, self._update),
            ("GetFunctionEventInvokeConfig", "GET", ONE, self._get),
            ("DeleteFunctionEventInvokeConfig", "DELETE", ONE, self._delete),
            ("ListFunctionEventInvokeConfigs", "GET", f"{ONE}/list", self._list),
        ):
            yield ControlOperation(name=name, method=method, path=path, run=run)

    async def _put(self, call: Call) -> Answer:
        name = _named(call, Role.DEPLOY)
        request = _request(call)
        async with self._maker.names.held(call.principal.project, [name.name]):
            function = await self._function(call, name)
            await check_destinations(
                self._finder, call, name, request.destination_config or DestinationConfig()
            )
            return await self._keep(
                call, name, function, _merged(EventInvokeBook(modified_unix_ms=0), request)
            )

    async def _update(self, call: Call) -> Answer:
        name = _named(call, Role.DEPLOY)
        request = _request(call)
        async with self._maker.names.held(call.principal.project, [name.name]):
            function = await self._function(call, name)
            before = await self._book(call, name)
            await check_destinations(
                self._finder, call, name, request.destination_config or DestinationConfig()
            )
            return await self._keep(call, name, function, _merged(before, request))

    async def _get(self, call: Call) -> Answer:
        name = _named(call, Role.READ)
        if await self._finder.find(call.principal.project, name.name) is None:
            raise _none(call, name)
        return Answer(200, _told(call, name, await self._book(call, name)))

    async def _delete(self, call: Call) -> Answer:
        name, project = _named(call, Role.DEPLOY), call.principal.project
        async with self._maker.names.held(project, [name.name]):
            if not await self._books.remove(project, Kind.EVENT_INVOKE, name.name, name.qualifier):
                raise _none(call, name)
            function = await self._function(call, name)
            await self._applied(name, function, EventInvokeBook(modified_unix_ms=0))
        return Answer(204)

    async def _list(self, call: Call) -> Answer:
        name, project = _named(call, Role.READ), call.principal.project
        if await self._finder.find(project, name.name) is None:
            raise gone("The function doesn't exist.")
        books = await self._books.all(EventInvokeBook, project, Kind.EVENT_INVOKE, name.name)
        part, marker = page(sorted(books), Query(call.query), key=str, asked_most=50)
        listed = [_told(call, FunctionName(name.name, qualifier), books[qualifier]) for qualifier in part]
        return Answer(200, ListEventInvokeResponse(function_event_invoke_configs=listed, next_marker=marker))

    async def _function(self, call: Call, name: FunctionName) -> Function:
        try:
            return await self._finder.version(call.principal.project, call.place, name)
        except Fault as error:
            raise gone("The function doesn't exist.") from error

    async def _book(self, call: Call, name: FunctionName) -> EventInvokeBook:
        found = await self._books.find(
            EventInvokeBook, call.principal.project, Kind.EVENT_INVOKE, name.name, name.qualifier
        )
        if found is None:
            raise _none(call, name)
        return found

    async def _keep(
        self, call: Call, name: FunctionName, function: Function, book: EventInvokeBook
    ) -> Answer:
        book = msgspec.structs.replace(book, modified_unix_ms=self._clock.unix_ms())
        project = call.principal.project
        await self._books.put(project, Kind.EVENT_INVOKE, name.name, book, key=name.qualifier)
        await self._applied(name, function, book)
        return Answer(200, _told(call, name, book))

    async def _applied(self, name: FunctionName, function: Function, book: EventInvokeBook) -> None:
        """Those of $LATEST become the function's own specification, where `lambent show` has them."""
        project = function.deployment.project
        books = await self._books.all(EventInvokeBook, project, Kind.EVENT_INVOKE, name.name)
        self._handlings.put(project, name.name, {key: _handling(one) for key, one in books.items()})
        if name.qualifier == LATEST and function.spec.kind is DeploymentKind.FUNCTION:
            await self._standing.respecify(function, handled(function.spec, _handling(book)))


def _handling(book: EventInvokeBook) -> Handling:
    return Handling(
        retries=USUAL.retries if book.retries is None else book.retries,
        async_age_max_s=USUAL.async_age_max_s if book.age_max_s is None else float(book.age_max_s),
        on_success=_deployment(book.destinations.on_success),
        on_failure=_deployment(book.destinations.on_failure),
    )


def _deployment(destination: Destination | None) -> str:
    """The function or queue that a destination is; nothing for others: they are kept, and get nothing."""
    arn = destination.destination if destination is not None else None
    if arn and name_of_arn(arn):
        return arn
    if not arn or ":function:" not in arn:
        return ""
    function = read_name(arn, "")
    return function.name if function.qualifier in ("", LATEST) else f"{function.name}:{function.qualifier}"


def _named(call: Call, role: Role) -> FunctionName:
    name = named(call, role)
    return FunctionName(name.name, name.qualifier or LATEST)


def _request(call: Call) -> EventInvokeRequest:
    request = read(call.body, EventInvokeRequest)
    if request == EventInvokeRequest():
        raise bad_parameter("You must specify at least one of error handling or destination setting.")
    return request


def _merged(before: EventInvokeBook, request: EventInvokeRequest) -> EventInvokeBook:
    config = request.destination_config or DestinationConfig()
    return msgspec.structs.replace(
        before,
        retries=before.retries if request.maximum_retry_attempts is None else request.maximum_retry_attempts,
        age_max_s=(
            before.age_max_s
            if request.maximum_event_age_in_seconds is None
            else request.maximum_event_age_in_seconds
        ),
        destinations=DestinationConfig(
            on_success=config.on_success or before.destinations.on_success,
            on_failure=config.on_failure or before.destinations.on_failure,
        ),
    )


def _told(call: Call, name: FunctionName, book: EventInvokeBook) -> EventInvokeConfig:
    return EventInvokeConfig(
        last_modified=book.modified_unix_ms / 1000,
        function_arn=call.place.function_arn(name.name, name.qualifier),
        maximum_retry_attempts=book.retries,
        maximum_event_age_in_seconds=book.age_max_s,
        destination_config=DestinationConfig(
            on_success=book.destinations.on_success or Destination(),
            on_failure=book.destinations.on_failure or Destination(),
        ),
    )


def _none(call: Call, name: FunctionName) -> Exception:
    arn = call.place.function_arn(name.name, name.qualifier)
    return gone(f"The function {arn} doesn't have an EventInvokeConfig")
