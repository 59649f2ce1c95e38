"""Functions' URLs: their configuration. The gateway answers at them."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Iterator
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.control.aws.books import Books
from lambent.control.aws.calls import named
from lambent.control.aws.found import Finder, aws_time
from lambent.control.aws.making import Maker
from lambent.control.aws.state import Kind, UrlBook
from lambent.core.invocation import Role
from lambent.pool.function_urls import FunctionUrl, FunctionUrls
from lambent.wire.aws.beside_requests import (
    CreateUrlRequest,
    ListUrlsResponse,
    UpdateUrlRequest,
    UrlConfig,
)
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.faults import conflict, gone
from lambent.wire.aws.names import FunctionName
from lambent.wire.aws.reading import Query, page, read, violated

ONE: Final = "/2021-10-31/functions/{FunctionName}/url"
ID_CHARACTERS: Final = 32
ALPHABET: Final = string.ascii_lowercase + string.digits
QUALIFIER: Final = re.compile(r"((?!^\d+$)^[0-9a-zA-Z-_]+$)")
NO_FUNCTION: Final = "Function does not exist"
NOTHING: Final = "The resource you requested does not exist."


class UrlVerbs:
    """Create, get, update, delete and list."""

    def __init__(
        self, *, finder: Finder, maker: Maker, books: Books, urls: FunctionUrls, clock: Clock
    ) -> None:
        self._finder: Final = finder
        self._maker: Final = maker
        self._books: Final = books
        self._urls: Final = urls
        self._clock: Final = clock

    def operations(self) -> Iterator[ControlOperation]:
        """What AWS calls them."""
        for name, method, path, run in (
            ("CreateFunctionUrlConfig", "POST", ONE, self._create),
            ("GetFunctionUrlConfig", "GET", ONE, self._get),
            ("UpdateFunctionUrlConfig", "PUT", ONE, self._update),
            ("DeleteFunctionUrlConfig", "DELETE", ONE, self._delete),
            ("ListFunctionUrlConfigs", "GET", f"{ONE}s", self._list),
        ):
            yield ControlOperation(name=name, method=method, path=path, run=run)

    async def restore(self, project: str) -> None:
        """At start: let the URLs answer."""
        for (name, alias), book in (await self._books.of_kind(UrlBook, project, Kind.URL)).items():
            self._urls.put(_url(project, name, alias, book))

    async def _create(self, call: Call) -> Answer:
        name, project = _named(call, Role.DEPLOY), call.principal.project
        request = read(call.body, CreateUrlRequest)
        async with self._maker.names.held(project, [name.name]):
            await self._check(call, name)
            if await self._books.find(UrlBook, project, Kind.URL, name.name, name.qualifier) is not None:
                arn = call.place.function_arn(name.name, name.qualifier)
                raise conflict(
                    f"Failed to create function url config for [functionArn = {arn}]. Error message:  "
                    "FunctionUrlConfig exists for this Lambda function"
                )
            now_ms = self._clock.unix_ms()
            book = UrlBook(
                url_id="".join(secrets.choice(ALPHABET) for _ in range(ID_CHARACTERS)),
                auth_type=request.auth_type,
                invoke_mode=request.invoke_mode or "BUFFERED",
                created_unix_ms=now_ms,
                modified_unix_ms=now_ms,
                cors=request.cors,
            )
            await self._keep(project, name, book)
        told = msgspec.structs.replace(
            _told(call, name, book), last_modified_time=None, invoke_mode=request.invoke_mode
        )
        return Answer(201, told)

    async def _get(self, call: Call) -> Answer:
        name = _named(call, Role.READ)
        return Answer(200, _told(call, name, await self._book(call, name)))

    async def _update(self, call: Call) -> Answer:
        name, project = _named(call, Role.DEPLOY), call.principal.project
        request = read(call.body, UpdateUrlRequest)
        async with self._maker.names.held(project, [name.name]):
            await self._check(call, name)
            before = await self._book(call, name)
            book = msgspec.structs.replace(
                before,
                auth_type=request.auth_type or before.auth_type,
                invoke_mode=request.invoke_mode or before.invoke_mode,
                cors=request.cors or before.cors,
                modified_unix_ms=self._clock.unix_ms(),
            )
            await self._keep(project, name, book)
        return Answer(200, msgspec.structs.replace(_told(call, name, book), invoke_mode=request.invoke_mode))

    async def _delete(self, call: Call) -> Answer:
        name, project = _named(call, Role.DEPLOY), call.principal.project
        if not await self._books.remove(project, Kind.URL, name.name, name.qualifier):
            raise gone(NOTHING)
        self._urls.forget(project, name.name, name.qualifier)
        return Answer(204)

    async def _list(self, call: Call) -> Answer:
        name = _named(call, Role.READ)
        query = Query(call.query)
        if await self._finder.find(call.principal.project, name.name) is None:
            raise gone(NO_FUNCTION)
        books = await self._books.all(UrlBook, call.principal.project, Kind.URL, name.name)
        part, marker = page(sorted(books), query, key=lambda alias: alias or "$LATEST", asked_most=50)
        listed = [_told(call, FunctionName(name.name, alias), books[alias]) for alias in part]
        return Answer(200, ListUrlsResponse(function_url_configs=listed, next_marker=marker))

    async def _check(self, call: Call, name: FunctionName) -> None:
        function = await self._finder.find(call.principal.project, name.name)
        if function is None:
            raise gone(NO_FUNCTION)
        if name.qualifier and name.qualifier not in await self._finder.aliases(function):
            raise gone(NO_FUNCTION)

    async def _book(self, call: Call, name: FunctionName) -> UrlBook:
        found = await self._books.find(UrlBook, call.principal.project, Kind.URL, name.name, name.qualifier)
        if found is None:
            raise gone(NOTHING)
        return found

    async def _keep(self, project: str, name: FunctionName, book: UrlBook) -> None:
        await self._books.put(project, Kind.URL, name.name, book, key=name.qualifier)
        self._urls.put(_url(project, name.name, name.qualifier, book))


def _named(call: Call, role: Role) -> FunctionName:
    name = named(call, role)
    if name.qualifier and not QUALIFIER.fullmatch(name.qualifier):
        said = f"Member must satisfy regular expression pattern: {QUALIFIER.pattern}"
        raise violated("qualifier", name.qualifier, said)
    return name


def _url(project: str, name: str, alias: str, book: UrlBook) -> FunctionUrl:
    return FunctionUrl(
        url_id=book.url_id,
        project=project,
        name=name,
        alias=alias,
        auth_type=book.auth_type,
        invoke_mode=book.invoke_mode,
        cors=book.cors,
    )


def _told(call: Call, name: FunctionName, book: UrlBook) -> UrlConfig:
    return UrlConfig(
        function_url=f"{call.base_url}/lambda-url/{book.url_id}/",
        function_arn=call.place.function_arn(name.name, name.qualifier),
        auth_type=book.auth_type,
        creation_time=aws_time(book.created_unix_ms),
        last_modified_time=aws_time(book.modified_unix_ms),
        invoke_mode=book.invoke_mode,
        cors=book.cors,
    )
