"""Layers: published, read, deleted. Functions keep what they stand on, though its layer is deleted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.control.aws.books import Books
from lambent.control.aws.code import CodeStore
from lambent.control.aws.making import Maker
from lambent.control.aws.policy import layer_arn
from lambent.control.aws.state import Kind, LayerBook
from lambent.core.invocation import Role
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.faults import bad_parameter, gone
from lambent.wire.aws.layer_requests import (
    LayerContentOutput,
    LayersItem,
    LayerVersion,
    ListLayersResponse,
    ListLayerVersionsResponse,
    PublishLayerRequest,
)
from lambent.wire.aws.layer_runtimes import ARCHITECTURES, LISTED, check_fits
from lambent.wire.aws.names import Place
from lambent.wire.aws.reading import Query, page, read, unserialised, violated

LAYERS: Final = "/2018-10-31/layers"
VERSIONS: Final = f"{LAYERS}/{{LayerName}}/versions"
ONE: Final = f"{VERSIONS}/{{VersionNumber}}"
UPLOAD_BYTES_MAX: Final = 70_167_211
NOTHING: Final = "The resource you requested does not exist."
NUMBER: Final = re.compile(r"-?\d{1,18}")
NAME: Final = re.compile(
    r"(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:"
    r"[a-zA-Z0-9-_]{1,140}|[a-zA-Z0-9-_]{1,140})"
)
VERSION_ARN: Final = re.compile(
    r"(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:"
    r"[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+)"
)


class LayerVerbs:
    """Publish, get, delete and list."""

    def __init__(self, *, maker: Maker, books: Books, code: CodeStore, clock: Clock) -> None:
        self._maker: Final = maker
        self._books: Final = books
        self._code: Final = code
        self._clock: Final = clock

    def operations(self) -> Iterator[ControlOperation]:
        """What AWS calls them. One path is for two operations: the query says which."""
        for name, method, path, run in (
            ("GetLayerVersion", "GET", ONE, self._get),
            ("DeleteLayerVersion", "DELETE", ONE, self._delete),
            ("ListLayers", "GET", LAYERS, self._list_or_find),
            ("ListLayerVersions", "GET", VERSIONS, self._list_versions),
        ):
            yield ControlOperation(name=name, method=method, path=path, run=run)
        yield ControlOperation(
            name="PublishLayerVersion",
            method="POST",
            path=VERSIONS,
            run=self._publish,
            request_bytes_max=UPLOAD_BYTES_MAX,
        )

    async def _publish(self, call: Call) -> Answer:
        call.principal.require(Role.DEPLOY)
        name, project = layer_name(call), call.principal.project
        request = read(call.body, PublishLayerRequest)
        check_fits(request.compatible_runtimes or (), request.compatible_architectures or ())
        code = await self._code.keep(request.content, call.principal)
        async with self._maker.names.held(project, [f"layer {name}"]):
            counter = await self._books.find(LayerBook, project, Kind.LAYER, name) or LayerBook()
            number = counter.latest + 1
            book = LayerBook(
                code=code,
                description=request.description or "",
                license_info=request.license_info,
                runtimes=None if request.compatible_runtimes is None else tuple(request.compatible_runtimes),
                architectures=(
                    None
                    if request.compatible_architectures is None
                    else tuple(request.compatible_architectures)
                ),
                created_unix_ms=self._clock.unix_ms(),
            )
            await self._books.put(project, Kind.LAYER, name, book, key=str(number))
            await self._books.put(project, Kind.LAYER, name, LayerBook(latest=number))
        return Answer(201, self._with_content(call, name, number, book))

    async def _get(self, call: Call) -> Answer:
        call.principal.require(Role.READ)
        name, number = layer_name(call), layer_number(call)
        book = await self._book(call, name, number)
        return Answer(200, self._with_content(call, name, number, book))

    async def _delete(self, call: Call) -> Answer:
        call.principal.require(Role.DEPLOY)
        name, number = layer_name(call), layer_number(call)
        await self._books.remove(call.principal.project, Kind.LAYER, name, str(number))
        return Answer(204)

    async def _list_or_find(self, call: Call) -> Answer:
        call.principal.require(Role.READ)
        query = Query(call.query)
        if query.word("find", ("LayerVersion",)):
            arn = query.text("Arn", VERSION_ARN)
            if not arn:
                raise violated("arn", None, "Member must not be null")
            above, _, number = arn.rpartition(":")
            name = above.rpartition(":")[2]
            book = await self._book(call, name, int(number) if number.isdecimal() else 0)
            return Answer(200, self._with_content(call, name, int(number), book))
        wanted = _wanted(query)
        found = await self._books.of_kind(LayerBook, call.principal.project, Kind.LAYER)
        newest: dict[str, tuple[int, LayerBook]] = {}
        for (name, key), book in found.items():
            if key and _fits(book, *wanted) and int(key) > newest.get(name, (0, book))[0]:
                newest[name] = (int(key), book)
        part, marker = page(sorted(newest), query, key=str, asked_most=50)
        layers = [
            LayersItem(
                layer_name=name,
                layer_arn=layer_arn(call.place, name),
                latest_matching_version=_listed(call.place, name, *newest[name]),
            )
            for name in part
        ]
        return Answer(200, ListLayersResponse(layers=layers, next_marker=marker))

    async def _list_versions(self, call: Call) -> Answer:
        call.principal.require(Role.READ)
        name, query = layer_name(call), Query(call.query)
        wanted = _wanted(query)
        books = await self._books.all(LayerBook, call.principal.project, Kind.LAYER, name)
        numbers = sorted(
            (int(key) for key, book in books.items() if key and _fits(book, *wanted)), reverse=True
        )
        part, marker = page(numbers, query, key=lambda number: f"{10**9 - number}", asked_most=50)
        listed = [_listed(call.place, name, number, books[str(number)]) for number in part]
        return Answer(200, ListLayerVersionsResponse(layer_versions=listed, next_marker=marker))

    def _with_content(self, call: Call, name: str, number: int, book: LayerBook) -> LayerVersion:
        content = None
        if book.code is not None:
            content = LayerContentOutput(
                code_sha256=book.code.sha256,
                code_size=book.code.size_bytes,
                location=self._code.location(book.code, call.base_url),
            )
        arn = layer_arn(call.place, name)
        told = _listed(call.place, name, number, book)
        return msgspec.structs.replace(told, content=content, layer_arn=arn)

    async def _book(self, call: Call, name: str, number: int) -> LayerBook:
        found = await self._books.find(LayerBook, call.principal.project, Kind.LAYER, name, str(number))
        if found is None:
            raise gone(NOTHING)
        return found


def layer_name(call: Call) -> str:
    """The layer that the path names, by its name or its ARN. Raises `Fault`."""
    text = call.labels[0]
    if not NAME.fullmatch(text):
        said = f"Member must satisfy regular expression pattern: {NAME.pattern}"
        raise violated("layerName", text, said)
    return text.rpartition(":")[2]


def layer_number(call: Call) -> int:
    """The version that the path names. Raises `Fault`."""
    text = call.labels[1]
    if not NUMBER.fullmatch(text):
        raise unserialised(f"'{text[:100]}' can not be converted to a Long")
    if int(text) < 1:
        raise bad_parameter("Layer Version Cannot be less than 1")
    return int(text)


def _wanted(query: Query) -> tuple[str, str]:
    """The runtime and the architecture that layers are asked for by. Raises `Fault` for what is neither."""
    return query.word("CompatibleRuntime", LISTED), query.word("CompatibleArchitecture", ARCHITECTURES)


def _fits(book: LayerBook, runtime: str, architecture: str) -> bool:
    return (not runtime or runtime in (book.runtimes or ())) and (
        not architecture or architecture in (book.architectures or ARCHITECTURES)
    )


def _listed(place: Place, name: str, number: int, book: LayerBook) -> LayerVersion:
    created = datetime.fromtimestamp(book.created_unix_ms / 1000, UTC)
    return LayerVersion(
        layer_version_arn=layer_arn(place, name, number),
        version=number,
        description=book.description,
        created_date=created.isoformat(timespec="milliseconds").replace("+00:00", "+0000"),
        compatible_architectures=_sequence(book.architectures),
        compatible_runtimes=_sequence(book.runtimes),
        license_info=book.license_info,
    )


def _sequence(words: Sequence[str] | None) -> Sequence[str] | None:
    return None if words is None else list(words)
