"""Tags of functions and event source mappings: kept, and given back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from lambent.control.aws.books import Books
from lambent.control.aws.found import Finder
from lambent.control.aws.making import Maker, new_revision_id
from lambent.control.aws.state import HELD, Kind, MappingBook
from lambent.core.invocation import Role
from lambent.wire.aws.beside_requests import ListTagsResponse, TagRequest
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.faults import bad_parameter, gone
from lambent.wire.aws.names import FunctionName, read_name
from lambent.wire.aws.reading import Query, read, violated
from lambent.wire.aws.shapes import Tags

ONE: Final = "/2017-03-31/tags/{Resource}"
TAGS_MAX: Final = 50
RESOURCE: Final = re.compile(
    r"arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:"
    r"(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|layer:([a-zA-Z0-9-_]+)|"
    r"code-signing-config:csc-[a-z0-9]{17}|"
    r"event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|"
    r"capacity-provider:[a-zA-Z0-9-_]+)"
)


class TagVerbs:
    """TagResource, UntagResource, ListTags."""

    def __init__(self, *, finder: Finder, maker: Maker, books: Books) -> None:
        self._finder: Final = finder
        self._maker: Final = maker
        self._books: Final = books

    def operations(self) -> Iterator[ControlOperation]:
        """What AWS calls them."""
        yield ControlOperation(name="TagResource", method="POST", path=ONE, run=self._tag)
        yield ControlOperation(name="UntagResource", method="DELETE", path=ONE, run=self._untag)
        yield ControlOperation(name="ListTags", method="GET", path=ONE, run=self._list)

    async def _tag(self, call: Call) -> Answer:
        arn = _arn(call, Role.DEPLOY)
        added = read(call.body, TagRequest).tags
        if not added:
            raise bad_parameter("An error occurred and the request cannot be processed.")
        await self._change(call, arn, lambda tags: {**tags, **added})
        return Answer(204)

    async def _untag(self, call: Call) -> Answer:
        arn = _arn(call, Role.DEPLOY)
        unwanted = Query(call.query).all("tagKeys")
        if not unwanted:
            raise violated("tagKeys", None, "Member must not be null")
        await self._change(
            call, arn, lambda tags: {key: one for key, one in tags.items() if key not in unwanted}
        )
        return Answer(204)

    async def _list(self, call: Call) -> Answer:
        arn = _arn(call, Role.READ)
        if key := _mapping(arn):
            book = await self._mapped(call, key)
            return Answer(200, ListTagsResponse(tags=book.request.tags or {}))
        function = await self._finder.function(call.principal.project, call.place, _named(arn))
        return Answer(200, ListTagsResponse(tags=function.book.tags))

    async def _change(self, call: Call, arn: str, change: Callable[[Tags], Tags]) -> None:
        project = call.principal.project
        if key := _mapping(arn):
            async with self._maker.names.held(project, [HELD]):
                before = await self._mapped(call, key)
                tags = checked_tags(change(before.request.tags or {}))
                request = msgspec.structs.replace(before.request, tags=tags)
                kept = msgspec.structs.replace(before, request=request)
                await self._books.put(project, Kind.MAPPING, key, kept)
            return
        name = _named(arn)
        async with self._maker.names.held(project, [name.name]):
            function = await self._finder.function(project, call.place, name)
            tags = checked_tags(change(function.book.tags))
            book = msgspec.structs.replace(function.book, tags=tags, revision_id=new_revision_id())
            await self._books.put(project, Kind.FUNCTION, function.name, book)

    async def _mapped(self, call: Call, key: str) -> MappingBook:
        book = await self._books.find(MappingBook, call.principal.project, Kind.MAPPING, key)
        if book is None:
            raise gone(f"Event source mapping not found: {call.labels[0]}")
        return book


def checked_tags(tags: Tags) -> Tags:
    """The same tags. Raises `Fault` for more than one thing may have."""
    check_tags(tags)
    return tags


def check_tags(tags: Tags) -> None:
    """Raise `Fault` for more than a function may have."""
    if len(tags) > TAGS_MAX:
        raise bad_parameter("Number of tags exceeds resource tag limit.")


def _arn(call: Call, role: Role) -> str:
    call.principal.require(role)
    arn = call.labels[0]
    if not RESOURCE.fullmatch(arn):
        said = f"Member must satisfy regular expression pattern: {RESOURCE.pattern}"
        raise violated("resource", arn, said)
    if ":capacity-provider:" in arn:  # there are none
        raise gone(f"Capacity provider not found: {arn}")
    if ":function:" not in arn and not _mapping(arn):
        raise bad_parameter(f"Only functions and event source mappings have tags here; {arn} is neither")
    return arn


def _mapping(arn: str) -> str:
    """The id of the mapping that an ARN names; empty where it is none."""
    return arn.partition(":event-source-mapping:")[2]


def _named(arn: str) -> FunctionName:
    name = read_name(arn, "")
    if name.qualifier:
        raise bad_parameter(
            "Tags on function aliases and versions are not supported. Please specify a function ARN."
        )
    return name
