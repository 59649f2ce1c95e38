"""Aliases of functions: ours, under AWS's rules."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from lambent.control.aws.books import Books
from lambent.control.aws.calls import named
from lambent.control.aws.found import Finder, Function, cannot_find_alias
from lambent.control.aws.limits import Limits
from lambent.control.aws.making import Maker, new_revision_id
from lambent.control.aws.standing import Standing
from lambent.control.aws.state import AliasBook, Kind
from lambent.core.errors import NotFound
from lambent.core.invocation import Role
from lambent.storage.aliases import Aliases
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.faults import bad_parameter, conflict, gone, outdated, refused_untyped
from lambent.wire.aws.function_requests import (
    AliasConfiguration,
    CreateAliasRequest,
    ListAliasesResponse,
    RoutingConfig,
    UpdateAliasRequest,
)
from lambent.wire.aws.names import LATEST, FunctionName, Place
from lambent.wire.aws.reading import Query, page, read

ALIASES: Final = "/2015-03-31/functions/{FunctionName}/aliases"
ONE: Final = f"{ALIASES}/{{Name}}"
PAGE_MAX: Final = 50


class AliasVerbs:
    """Create, get, update, delete and list."""

    def __init__(
        self,
        *,
        finder: Finder,
        maker: Maker,
        books: Books,
        aliases: Aliases,
        standing: Standing,
        limits: Limits,
    ) -> None:
        self._limits: Final = limits
        self._finder: Final = finder
        self._maker: Final = maker
        self._books: Final = books
        self._aliases: Final = aliases
        self._standing: Final = standing

    def operations(self) -> Iterator[ControlOperation]:
        """What AWS calls them."""
        for name, method, path, run in (
            ("CreateAlias", "POST", ALIASES, self._create),
            ("GetAlias", "GET", ONE, self._get),
            ("UpdateAlias", "PUT", ONE, self._update),
            ("DeleteAlias", "DELETE", ONE, self._delete),
            ("ListAliases", "GET", ALIASES, self._list),
        ):
            yield ControlOperation(name=name, method=method, path=path, run=run)

    async def _create(self, call: Call) -> Answer:
        name, project = named(call, Role.DEPLOY), call.principal.project
        request = read(call.body, CreateAliasRequest)
        async with self._maker.names.held(project, [name.name]):
            wanted = FunctionName(name.name, request.function_version)
            function = await self._finder.function(project, call.place, wanted)
            if request.name in await self._finder.aliases(function):
                arn = call.place.function_arn(name.name, request.name)
                raise conflict(f"Alias already exists: {arn}")
            book = AliasBook(
                function_version=request.function_version,
                description=request.description or "",
                revision_id=new_revision_id(),
                routing=request.routing_config or RoutingConfig(),
            )
            await self._keep(call.place, function, request.name, book)
        return Answer(201, _told(call.place, name.name, request.name, book))

    async def _update(self, call: Call) -> Answer:
        name, project, alias = named(call, Role.DEPLOY), call.principal.project, call.labels[1]
        request = read(call.body, UpdateAliasRequest)
        async with self._maker.names.held(project, [name.name]):
            function = await self._finder.function(project, call.place, FunctionName(name.name))
            before = (await self._finder.aliases(function)).get(alias)
            if before is None:
                raise gone(f"Alias not found: {call.place.function_arn(name.name, alias)}")
            if request.revision_id is not None and request.revision_id != before.revision_id:
                raise outdated()
            book = msgspec.structs.replace(
                before,
                function_version=request.function_version or before.function_version,
                description=before.description if request.description is None else request.description,
                revision_id=new_revision_id(),
                routing=before.routing if request.routing_config is None else request.routing_config,
            )
            await self._keep(call.place, function, alias, book)
        return Answer(200, _told(call.place, name.name, alias, book))

    async def _get(self, call: Call) -> Answer:
        name, alias = named(call, Role.READ), call.labels[1]
        function = await self._finder.function(call.principal.project, call.place, FunctionName(name.name))
        return Answer(200, _told(call.place, name.name, alias, await self._book(call, function, alias)))

    async def _delete(self, call: Call) -> Answer:
        name, project, alias = named(call, Role.DEPLOY), call.principal.project, call.labels[1]
        async with self._maker.names.held(project, [name.name]):
            function = await self._finder.function(project, call.place, FunctionName(name.name))
            if alias in await self._finder.aliases(function):
                for kind in (Kind.ALIAS, Kind.PROVISIONED, Kind.POLICY, Kind.EVENT_INVOKE):
                    await self._books.remove(project, kind, name.name, alias)
                try:
                    await asyncio.to_thread(self._aliases.remove, project, name.name, alias)
                except NotFound:
                    return Answer(204)
                await self._maker.reroute(project, name.name)
                await self._limits.apply(project, name.name)
        return Answer(204)

    async def _list(self, call: Call) -> Answer:
        name, project = named(call, Role.READ), call.principal.project
        query = Query(call.query)
        function = await self._finder.function(project, call.place, FunctionName(name.name))
        books = await self._finder.aliases(function)
        if version := query.text("FunctionVersion"):
            books = {alias: book for alias, book in books.items() if book.function_version == version}
        part, marker = page(sorted(books), query, key=str, most=PAGE_MAX)
        listed = [_told(call.place, name.name, alias, books[alias]) for alias in part]
        return Answer(200, ListAliasesResponse(aliases=listed, next_marker=marker))

    async def _book(self, call: Call, function: Function, alias: str) -> AliasBook:
        found = (await self._finder.aliases(function)).get(alias)
        if found is None:
            raise cannot_find_alias(call.place.function_arn(function.name, alias))
        return found

    async def _keep(self, place: Place, function: Function, alias: str, book: AliasBook) -> None:
        _check_weights(book.function_version, book.routing.additional_version_weights or {})
        await self._standing.point(place, function, alias, book)
        await self._limits.apply(function.deployment.project, function.name)


def _check_weights(version: str, weights: Mapping[str, float]) -> None:
    if len(weights) > 1:
        raise bad_parameter("Number of items in AdditionalVersionWeights cannot be greater than 1")
    if version in weights:
        raise bad_parameter(
            f"Invalid function version {version}. Function version {version} is already included in routing "
            "configuration."
        )
    if weights and version == LATEST:
        raise refused_untyped("$LATEST is not supported for an alias pointing to more than 1 version")


def _told(place: Place, name: str, alias: str, book: AliasBook) -> AliasConfiguration:
    weighted = bool(book.routing.additional_version_weights)
    return AliasConfiguration(
        alias_arn=place.function_arn(name, alias),
        name=alias,
        function_version=book.function_version,
        description=book.description,
        revision_id=book.revision_id,
        routing_config=book.routing if weighted else None,
    )
