"""Tags of functions: kept, and given back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from lambent.control.aws.books import Books
from lambent.control.aws.found import Finder, Function
from lambent.control.aws.making import Maker
from lambent.control.aws.state import Kind
from lambent.core.invocation import Role
from lambent.wire.aws.beside_requests import ListTagsResponse, TagRequest
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.faults import bad_parameter
from lambent.wire.aws.names import FunctionName, read_name
from lambent.wire.aws.reading import Query, read, violated
from lambent.wire.aws.shapes import Tags

ONE: Final = "/2017-03-31/tags/{Resource}"
TAGS_MAX: Final = 50
RESOURCE: Final = re.compile(
    r"arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:"
    r"(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|code-signing-config:csc-[a-z0-9]{17}|"
    r"event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|"
    r"(capacity-provider|network-connector):[a-zA-Z0-9-_]{1,64})"
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
        name = _named(call, Role.DEPLOY)
        added = read(call.body, TagRequest).tags
        async with self._maker.names.held(call.principal.project, [name.name]):
            function = await self._finder.function(call.principal.project, call.place, name)
            await self._keep(function, {**function.book.tags, **added})
        return Answer(204)

    async def _untag(self, call: Call) -> Answer:
        name = _named(call, Role.DEPLOY)
        gone = Query(call.query).all("tagKeys")
        if not gone:
            raise violated("tagKeys", None, "Member must not be null")
        async with self._maker.names.held(call.principal.project, [name.name]):
            function = await self._finder.function(call.principal.project, call.place, name)
            await self._keep(
                function, {key: one for key, one in function.book.tags.items() if key not in gone}
            )
        return Answer(204)

    async def _list(self, call: Call) -> Answer:
        name = _named(call, Role.READ)
        function = await self._finder.function(call.principal.project, call.place, name)
        return Answer(200, ListTagsResponse(tags=function.book.tags))

    async def _keep(self, function: Function, tags: Tags) -> None:
        check_tags(tags)
        book = msgspec.structs.replace(function.book, tags=tags)
        await self._books.put(function.deployment.project, Kind.FUNCTION, function.name, book)


def check_tags(tags: Tags) -> None:
    """Raise `Fault` for more than a function may have."""
    if len(tags) > TAGS_MAX:
        raise bad_parameter("Number of tags exceeds resource tag limit.")


def _named(call: Call, role: Role) -> FunctionName:
    call.principal.require(role)
    arn = call.labels[0]
    if not RESOURCE.fullmatch(arn):
        said = f"Member must satisfy regular expression pattern: {RESOURCE.pattern}"
        raise violated("resource", arn, said)
    if ":function:" not in arn:
        raise bad_parameter(f"Only functions have tags here; {arn} is none")
    name = read_name(arn, "")
    if name.qualifier:
        raise bad_parameter(
            "Tags on function aliases and versions are not supported. Please specify a function ARN."
        )
    return name
