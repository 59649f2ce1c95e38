"""Tags of models, endpoint configurations and endpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from lambent.control.aws.sagemaker.models import named, tags_of
from lambent.control.aws.sagemaker.shelf import Book, Shelf
from lambent.core.invocation import Role
from lambent.wire.aws import sagemaker_control as wire
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.reading import read
from lambent.wire.aws.sagemaker_control import ARN, Kind

TAGS_MAX: Final = 50


class TagVerbs:
    """Operations on tags."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf: Final = shelf

    def operations(self) -> Iterator[ControlOperation]:
        """By name."""
        yield from named({"AddTags": self._add, "ListTags": self._list, "DeleteTags": self._delete})

    async def _add(self, call: Call) -> Answer:
        wanted = read(call.body, wire.Tagged)
        kind, name = _named(call, wanted, Role.DEPLOY)
        async with self._shelf.held(call.principal.project, kind, name):
            book = await self._shelf.get(call.principal.project, call.place, kind, name)
            tags = {**book.tags, **tags_of(wanted.tags)}
            if len(tags) > TAGS_MAX:
                raise wire.invalid(f"A resource has at most {TAGS_MAX} tags")
            await self._put(call, kind, book, tags)
        return Answer(200, {"Tags": _told(tags)})

    async def _list(self, call: Call) -> Answer:
        kind, name = _named(call, read(call.body, wire.Tagged), Role.READ)
        book = await self._shelf.get(call.principal.project, call.place, kind, name)
        return Answer(200, {"Tags": _told(book.tags)})

    async def _delete(self, call: Call) -> Answer:
        wanted = read(call.body, wire.Tagged)
        kind, name = _named(call, wanted, Role.DEPLOY)
        gone = frozenset(wanted.tag_keys)
        async with self._shelf.held(call.principal.project, kind, name):
            book = await self._shelf.get(call.principal.project, call.place, kind, name)
            await self._put(call, kind, book, {key: book.tags[key] for key in book.tags if key not in gone})
        return Answer(200, {})

    async def _put(self, call: Call, kind: Kind, book: Book, tags: Mapping[str, str]) -> None:
        await self._shelf.put(call.principal.project, kind, msgspec.structs.replace(book, tags=dict(tags)))


def _named(call: Call, wanted: wire.Tagged, role: Role) -> tuple[Kind, str]:
    call.principal.require(role)
    found = ARN.fullmatch(wanted.resource_arn)
    if found is None:
        raise wire.invalid(f"Invalid resource ARN {wanted.resource_arn}: it names nothing with tags here")
    return Kind(found[1]), found[2]


def _told(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
