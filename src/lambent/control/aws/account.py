"""GetAccountSettings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lambent.control.aws.code import UNZIPPED_BYTES_MAX
from lambent.control.aws.concurrency import CONCURRENT_MAX, ConcurrencyVerbs
from lambent.control.aws.found import Finder
from lambent.core.invocation import Role
from lambent.wire.aws.beside_requests import AccountLimit, AccountSettings, AccountUsage
from lambent.wire.aws.control import Answer, Call, ControlOperation

CODE_BYTES_MAX: Final = 80_530_636_800
ZIPPED_BYTES_MAX: Final = 52_428_800


class AccountVerbs:
    """What a project has, beside AWS's own limits."""

    def __init__(self, *, finder: Finder, concurrency: ConcurrencyVerbs) -> None:
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
            total_code_size=sum(one.book.code.size_bytes for one in functions),
            function_count=len(functions),
        )
        return Answer(200, AccountSettings(account_limit=limit, account_usage=usage))
