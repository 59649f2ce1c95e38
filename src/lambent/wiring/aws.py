"""The operations of AWS's control APIs, and what is kept for them, connected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lambent.clock import SystemClock
from lambent.control.aws.aliases import AliasVerbs
from lambent.control.aws.books import Books
from lambent.control.aws.code import CodeStore
from lambent.control.aws.found import Finder
from lambent.control.aws.functions import FunctionVerbs
from lambent.control.aws.layers_used import LayersUsed
from lambent.control.aws.making import Maker
from lambent.control.aws.publishing import Publishing
from lambent.wire.aws.control import ControlOperation
from lambent.wiring.parts import Parts


class AwsControl:
    """What stands behind AWS's door for functions."""

    def __init__(self, parts: Parts, clock: SystemClock) -> None:
        kept = parts.kept
        self.books = Books(kept.store.records, clock)
        self.finder = Finder(kept.store.deployments, self.books, kept.artifacts)
        self.maker = Maker(
            finder=self.finder,
            books=self.books,
            aliases=kept.store.aliases,
            activation=parts.activation,
            names=parts.names,
            clock=clock,
            tasks=parts.tasks,
        )
        self._parts = parts
        self._clock = clock

    def operations(self) -> Iterator[ControlOperation]:
        """All of them."""
        for verbs in self._verbs():
            yield from verbs.operations()

    def _verbs(self) -> Sequence[FunctionVerbs | Publishing | AliasVerbs]:
        parts, finder, maker, books = self._parts, self.finder, self.maker, self.books
        aliases = parts.kept.store.aliases
        publishing = Publishing(finder=finder, maker=maker, books=books, aliases=aliases)
        functions = FunctionVerbs(
            finder=finder,
            maker=maker,
            code=CodeStore(parts.kept.artifacts),
            layers=LayersUsed(books),
            publishing=publishing,
            deployments=parts.deployments,
            clock=self._clock,
        )
        return (
            functions,
            publishing,
            AliasVerbs(finder=finder, maker=maker, books=books, aliases=aliases),
        )
