"""Which revisions versions and aliases stand for, when one of them changes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec

from lambent.control.aws.books import Books
from lambent.control.aws.found import Finder, Function
from lambent.control.aws.making import Maker
from lambent.control.aws.state import AliasBook, Kind, VersionBook
from lambent.core.spec import DeploymentSpec
from lambent.storage.aliases import Aliases
from lambent.wire.aws.faults import not_found
from lambent.wire.aws.names import LATEST, Place


class Standing:
    """Points aliases at versions. Whoever calls holds the function's name."""

    def __init__(self, *, finder: Finder, maker: Maker, books: Books, aliases: Aliases) -> None:
        self._finder: Final = finder
        self._maker: Final = maker
        self._books: Final = books
        self._aliases: Final = aliases

    async def point(self, place: Place, function: Function, alias: str, book: AliasBook) -> None:
        """Let an alias stand for its versions, from now on. Raises `Fault` where one is not there."""
        versions = {LATEST: function, **await self._finder.versions(function)}
        for version in (book.function_version, *_weights(book)):
            if version not in versions:
                raise not_found(place.function_arn(function.name, version))
        await self._put(function, alias, book, versions)
        await self._books.put(function.deployment.project, Kind.ALIAS, function.name, book, key=alias)
        await self._maker.reroute(function.deployment.project, function.name)

    async def respecify(self, function: Function, spec: DeploymentSpec) -> None:
        """Let a version, or $LATEST, run as `spec` says from now on: the same code under other terms."""
        if spec == function.spec:
            return
        project, name = function.deployment.project, function.name
        if function.version == LATEST:
            await self._maker.retune(function, spec)
            return
        revision = await self._maker.keep_version(function, spec, function.version)
        kept = VersionBook(function=function.book, revision=revision.id)
        await self._books.put(project, Kind.VERSION, name, kept, key=function.version)
        latest = await self._finder.find(project, name)
        if latest is None:
            return
        versions = {LATEST: latest, **await self._finder.versions(latest)}
        for alias, book in (await self._books.all(AliasBook, project, Kind.ALIAS, name)).items():
            if function.version in (book.function_version, *_weights(book)):
                await self._put(latest, alias, book, versions)
        await self._maker.reroute(project, name)

    async def _put(
        self, function: Function, alias: str, book: AliasBook, versions: Mapping[str, Function]
    ) -> None:
        put = self._maker.alias(function.deployment, alias, versions[book.function_version].revision.id)
        for version, weight in _weights(book).items():
            candidate = versions[version].revision.id
            put = msgspec.structs.replace(put, candidate=candidate, percent=weight * 100)
        await asyncio.to_thread(self._aliases.put, put)


def _weights(book: AliasBook) -> Mapping[str, float]:
    return book.routing.additional_version_weights or {}
