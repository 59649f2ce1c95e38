"""PublishVersion and ListVersionsByFunction: a version is a revision that is kept beside what is active."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Final

import msgspec

from lambent.control.aws.books import Books
from lambent.control.aws.calls import named
from lambent.control.aws.found import READY, UNTOLD, Finder, Function, described
from lambent.control.aws.limits import Limits
from lambent.control.aws.making import Maker, new_revision_id
from lambent.control.aws.state import AliasBook, FunctionBook, Kind, VersionBook
from lambent.core.errors import NotFound
from lambent.core.invocation import Role
from lambent.core.spec import DeploymentSpec
from lambent.core.spec import Kind as DeploymentKind
from lambent.storage.aliases import Aliases
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.faults import bad_parameter, conflict, outdated
from lambent.wire.aws.function_requests import PublishVersionRequest
from lambent.wire.aws.functions import ListVersionsResponse
from lambent.wire.aws.names import LATEST, FunctionName, Place
from lambent.wire.aws.reading import Query, page, read

VERSIONS: Final = "/2015-03-31/functions/{FunctionName}/versions"
PAGE_MAX: Final = 50
PLAIN: Final = DeploymentSpec(name="-", kind=DeploymentKind.FUNCTION)


class Publishing:
    """Publishes versions and lists them."""

    def __init__(
        self, *, finder: Finder, maker: Maker, books: Books, aliases: Aliases, limits: Limits
    ) -> None:
        self._limits: Final = limits
        self._finder: Final = finder
        self._maker: Final = maker
        self._books: Final = books
        self._aliases: Final = aliases

    def operations(self) -> Iterator[ControlOperation]:
        """What AWS calls them."""
        yield ControlOperation(name="PublishVersion", method="POST", path=VERSIONS, run=self._publish)
        yield ControlOperation(name="ListVersionsByFunction", method="GET", path=VERSIONS, run=self._list)

    async def publish(self, latest: Function, description: str | None) -> Function:
        """The version of what is $LATEST now: a new one, if anything has changed since the last.

        The function's name is held.
        """
        mark = _mark(latest.spec, latest.book)
        versions = await self._finder.versions(latest)
        book = latest.book
        newest = versions.get(str(book.versions_made))
        if newest is not None and book.published == mark:
            return newest
        number = str(book.versions_made + 1)
        said = latest.spec.description if description is None else description
        spec = msgspec.structs.replace(latest.spec, version=number, description=said)
        revision = await self._maker.keep_version(latest, spec, number)
        version = msgspec.structs.replace(book, revision_id=new_revision_id(), tags={}, reserved=None)
        project, name = latest.deployment.project, latest.name
        kept = VersionBook(function=version, revision=revision.id)
        await self._books.put(project, Kind.VERSION, name, kept, key=number)
        counted = msgspec.structs.replace(
            book, versions_made=int(number), published=mark, revision_id=new_revision_id()
        )
        await self._books.put(project, Kind.FUNCTION, name, counted)
        await self._maker.reroute(project, name)
        self._maker.published(project, name, number)
        return Function(deployment=latest.deployment, revision=revision, book=version, version=number)

    async def delete(self, project: str, place: Place, name: FunctionName) -> None:
        """Forget a version; one that is not there is no error. Raises `Fault` where an alias needs it."""
        number = name.qualifier
        async with self._maker.names.held(project, [name.name]):
            aliases = await self._books.all(AliasBook, project, Kind.ALIAS, name.name)
            using = [alias for alias, book in aliases.items() if number in _versions_of(book)]
            if using:
                raise conflict(
                    "Unable to delete version because the following aliases reference it: "
                    f"[{', '.join(using)}]"
                )
            if not await self._books.remove(project, Kind.VERSION, name.name, number):
                return
            for kind in (Kind.PROVISIONED, Kind.POLICY, Kind.EVENT_INVOKE):
                await self._books.remove(project, kind, name.name, number)
            try:
                await asyncio.to_thread(self._aliases.remove, project, name.name, number)
            except NotFound:
                return
            await self._maker.reroute(project, name.name)
            await self._limits.apply(project, name.name)

    async def _publish(self, call: Call) -> Answer:
        name, project = named(call, Role.DEPLOY), call.principal.project
        request = read(call.body, PublishVersionRequest)
        async with self._maker.names.held(project, [name.name]):
            latest = await self._finder.function(project, call.place, FunctionName(name.name))
            self._maker.check_settled(project, call.place, name.name)
            if request.revision_id is not None and request.revision_id != latest.book.revision_id:
                raise outdated()
            sha256 = latest.book.code.sha256
            if request.code_sha256 and request.code_sha256 != sha256:
                raise bad_parameter(
                    f"CodeSHA256 ({request.code_sha256}) is different from current CodeSHA256 in $LATEST "
                    f"({sha256}). Please try again with the CodeSHA256 in $LATEST."
                )
            made = await self.publish(latest, request.description)
        return Answer(201, described(made, call.place, READY))

    async def _list(self, call: Call) -> Answer:
        name = named(call, Role.READ)
        latest = await self._finder.function(call.principal.project, call.place, FunctionName(name.name))
        found = [latest, *(await self._finder.versions(latest)).values()]
        part, marker = page(found, Query(call.query), key=lambda one: f"{one.version:>10}", most=PAGE_MAX)
        listed = [described(one, call.place, UNTOLD, qualifier=one.version) for one in part]
        return Answer(200, ListVersionsResponse(versions=listed, next_marker=marker))


def _versions_of(alias: AliasBook) -> set[str]:
    return {alias.function_version, *(alias.routing.additional_version_weights or {})}


def _mark(spec: DeploymentSpec, book: FunctionBook) -> str:
    """What makes a version another one: its code and its configuration, but not how events are retried."""
    same = msgspec.structs.replace(
        spec, version=LATEST, retries=PLAIN.retries, async_age_max_s=PLAIN.async_age_max_s,
        on_success="", on_failure="",
        workers_min=0, workers_max=1,
    )  # fmt: skip
    content = (same, book.code.sha256, book.settings, book.role, book.runtime, book.layers)
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
