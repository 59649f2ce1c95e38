"""GetAccountSettings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lambent.control.aws.books import Books
from lambent.control.aws.code import UNZIPPED_BYTES_MAX, ZIPPED_BYTES_MAX
from lambent.control.aws.concurrency import CONCURRENT_MAX, ConcurrencyVerbs
from lambent.control.aws.found import Finder
from lambent.control.aws.state import Kind, LayerBook, VersionBook
from lambent.core.invocation import Role
from lambent.wire.aws.beside_requests import AccountLimit, AccountSettings, AccountUsage
from lambent.wire.aws.control import Answer, Call, ControlOperation

CODE_BYTES_MAX: Final = 80_530_636_800


class AccountVerbs:
    """What a project has, beside AWS's own limits."""

    def __init__(self, *, finder: Finder, books: Books, concurrency: ConcurrencyVerbs) -> None:
        self._books: Final = books
        self._finder: Final = finder
        self._concurrency: Final = concurrency

    def operations(self) -> Iterator[ControlOperation]:
        """What AWS calls it."""
        path = "/2016-08-19/account-settings"
        yield ControlOperation(name="GetAccountSettings", method="GET", path=path, run=self._get)

    async def _get(self, call: Call) -> Answer:
        call.principal.require(Role.READ)
        functions = await self._finder.all(call.principal.project)
        limit = AccountLimit(
            total_code_size=CODE_BYTES_MAX,
            code_size_unzipped=UNZIPPED_BYTES_MAX,
            code_size_zipped=ZIPPED_BYTES_MAX,
            concurrent_executions=CONCURRENT_MAX,
            unreserved_concurrent_executions=await self._concurrency.unreserved(call.principal.project),
        )
        usage = AccountUsage(
            total_code_size=sum(one.book.code.size_bytes for one in functions) + await self._kept_bytes(call),
            function_count=len(functions),
        )
        return Answer(200, AccountSettings(account_limit=limit, account_usage=usage))

    async def _kept_bytes(self, call: Call) -> int:
        """Of versions and layers: each counts for itself, though it has the code of another."""
        project = call.principal.project
        versions = await self._books.of_kind(VersionBook, project, Kind.VERSION)
        layers = await self._books.of_kind(LayerBook, project, Kind.LAYER)
        codes = [one.function.code for one in versions.values()] + [
            one.code for one in layers.values() if one.code
        ]
        return sum(code.size_bytes for code in codes)
