"""The operations of AWS's control APIs, and what is kept for them, connected."""

from __future__ import annotations

from collections.abc import Iterator

from lambent.clock import SystemClock
from lambent.control.aws.account import AccountVerbs
from lambent.control.aws.aliases import AliasVerbs
from lambent.control.aws.answered import AnsweredVerbs
from lambent.control.aws.books import Books
from lambent.control.aws.code import CodeStore
from lambent.control.aws.concurrency import ConcurrencyVerbs
from lambent.control.aws.event_invoke import EventInvokeVerbs
from lambent.control.aws.event_source_mappings import MappingVerbs
from lambent.control.aws.found import Finder
from lambent.control.aws.functions import FunctionVerbs
from lambent.control.aws.layer_policy import LayerPolicyVerbs
from lambent.control.aws.layers import LayerVerbs
from lambent.control.aws.layers_used import LayersUsed
from lambent.control.aws.limits import Limits
from lambent.control.aws.making import Maker
from lambent.control.aws.policy import PolicyVerbs
from lambent.control.aws.publishing import Publishing
from lambent.control.aws.standing import Standing
from lambent.control.aws.tags import TagVerbs
from lambent.control.aws.urls import UrlVerbs
from lambent.pool.handlings import LATEST
from lambent.pool.routes import Route
from lambent.wire.aws.control import ControlOperation
from lambent.wiring.parts import Parts


class AwsControl:
    """What stands behind AWS's door for functions."""

    def __init__(self, parts: Parts, clock: SystemClock) -> None:
        kept = parts.kept
        self._parts = parts
        self._clock = clock
        self.books = books = Books(kept.store.records, clock)
        self.finder = finder = Finder(kept.store.deployments, kept.store.aliases, books, kept.artifacts)
        aliases = kept.store.aliases
        self.maker = maker = Maker(
            finder=finder,
            books=books,
            aliases=aliases,
            activation=parts.activation,
            names=parts.names,
            clock=clock,
            tasks=parts.tasks,
        )
        self._code = CodeStore(kept.artifacts, kept.work_dir, kept.master, clock)
        self._standing = Standing(finder=finder, maker=maker, books=books, aliases=aliases)
        self._urls = UrlVerbs(finder=finder, maker=maker, books=books, urls=parts.function_urls, clock=clock)
        self._limits = Limits(books, parts.reservations)
        self._concurrency = ConcurrencyVerbs(
            finder=finder, maker=maker, books=books, standing=self._standing,
            limits=self._limits, pool=parts.pool, clock=clock,
        )  # fmt: skip
        self._mappings = MappingVerbs(
            finder=finder, books=books, clock=clock, sources=parts.sources, names=parts.names,
            has_queue=lambda project, name: parts.queues.find(project, name) is not None,
        )  # fmt: skip
        self._events = EventInvokeVerbs(
            finder=finder, maker=maker, books=books, standing=self._standing,
            handlings=parts.handlings, clock=clock,
        )  # fmt: skip
        parts.routes.subscribe(self._forget)

    async def restore(self, project: str) -> None:
        """At start: what is kept of a project takes effect."""
        await self._urls.restore(project)
        await self._concurrency.restore(project)
        await self._events.restore(project)
        await self._mappings.restore(project)

    def operations(self) -> Iterator[ControlOperation]:
        """All of them."""
        finder, maker, books, standing = self.finder, self.maker, self.books, self._standing
        aliases = self._parts.kept.store.aliases
        yield from self._functions()
        yield from AliasVerbs(
            finder=finder, maker=maker, books=books, aliases=aliases, standing=standing, limits=self._limits
        ).operations()
        yield from self._urls.operations()
        yield from self._concurrency.operations()
        yield from self._events.operations()
        yield from TagVerbs(finder=finder, maker=maker, books=books).operations()
        yield from PolicyVerbs(finder=finder, maker=maker, books=books).operations()
        yield from AnsweredVerbs(finder=finder, maker=maker, books=books).operations()
        yield from AccountVerbs(finder=finder, books=books, concurrency=self._concurrency).operations()
        yield from LayerVerbs(maker=maker, books=books, code=self._code, clock=self._clock).operations()
        yield from LayerPolicyVerbs(maker=maker, books=books).operations()

        yield from self._mappings.operations()

    def _functions(self) -> Iterator[ControlOperation]:
        parts, finder, maker, books = self._parts, self.finder, self.maker, self.books
        publishing = Publishing(
            finder=finder, maker=maker, books=books, aliases=parts.kept.store.aliases, limits=self._limits
        )
        yield from publishing.operations()
        yield from FunctionVerbs(
            finder=finder,
            maker=maker,
            code=self._code,
            layers=LayersUsed(books),
            publishing=publishing,
            deployments=parts.deployments,
            clock=self._clock,
        ).operations()

    def _forget(self, before: Route | None, after: Route | None) -> None:
        """A deployment that is gone has neither URLs nor limits, and an alias no terms of its own."""
        if after is not None and not after.beside:
            routes, project, name = self._parts.routes, after.project, after.name
            self._parts.handlings.keep(
                project, name,
                lambda one: one == LATEST or one.isdecimal() or routes.split(project, name, one) is not None,
            )  # fmt: skip
        elif before is not None and after is None and not before.beside:
            self._parts.function_urls.forget(before.project, before.name)
            self._parts.reservations.limit(before.project, before.name, None)
            self._parts.handlings.put(before.project, before.name, {})
