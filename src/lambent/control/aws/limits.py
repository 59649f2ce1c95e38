"""What is reserved for functions and kept of it for their versions, as it holds for calls."""

from __future__ import annotations

from typing import Final

from lambent.control.aws.books import Books
from lambent.control.aws.state import AliasBook, FunctionBook, Kind, ProvisionedBook
from lambent.pool.reservations import Reservation, Reservations


class Limits:
    """Lets what is stored hold."""

    def __init__(self, books: Books, reservations: Reservations) -> None:
        self._books: Final = books
        self._reservations: Final = reservations

    async def apply(self, project: str, name: str) -> None:
        """Of one function, after any of it has changed. Its name is held, or nobody calls yet."""
        book = await self._books.find(FunctionBook, project, Kind.FUNCTION, name)
        if book is None or book.reserved is None:
            self._reservations.limit(project, name, None)
            return
        provisioned = await self._books.all(ProvisionedBook, project, Kind.PROVISIONED, name)
        aliases = await self._books.all(AliasBook, project, Kind.ALIAS, name)
        reservation = Reservation(
            calls_max=book.reserved,
            kept={qualifier: one.requested for qualifier, one in provisioned.items()},
            stands_for={
                alias: one.function_version for alias, one in aliases.items() if alias not in provisioned
            },
        )
        self._reservations.limit(project, name, reservation)
