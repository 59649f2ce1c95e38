"""Settings of AWS's that nothing here acts on, and that tools such as Terraform read of every function.

What a function has that was told nothing of them is AWS's own default. No code is signed; whether functions
may call themselves in a circle, and who chooses the build of a runtime, is kept and given back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from lambent.control.aws.books import Books
from lambent.control.aws.calls import named
from lambent.control.aws.found import Finder, Function
from lambent.control.aws.making import Maker
from lambent.control.aws.state import Kind
from lambent.core.invocation import Role
from lambent.wire.aws.beside_requests import RecursionConfig, RuntimeManagement, RuntimeManagementRequest
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.faults import bad_parameter
from lambent.wire.aws.names import LATEST, FunctionName
from lambent.wire.aws.reading import read

SIGNING: Final = "/2020-06-30/functions/{FunctionName}/code-signing-config"
RECURSION: Final = "/2024-08-31/functions/{FunctionName}/recursion-config"
RUNTIME: Final = "/2021-07-20/functions/{FunctionName}/runtime-management-config"


class AnsweredVerbs:
    """Of the three: get; of the last two also put."""

    def __init__(self, *, finder: Finder, maker: Maker, books: Books) -> None:
        self._finder: Final = finder
        self._maker: Final = maker
        self._books: Final = books

    def operations(self) -> Iterator[ControlOperation]:
        """What AWS calls them."""
        for name, method, path, run in (
            ("GetFunctionCodeSigningConfig", "GET", SIGNING, self._signing),
            ("GetFunctionRecursionConfig", "GET", RECURSION, self._recursion),
            ("PutFunctionRecursionConfig", "PUT", RECURSION, self._recurse),
            ("GetRuntimeManagementConfig", "GET", RUNTIME, self._runtime),
            ("PutRuntimeManagementConfig", "PUT", RUNTIME, self._manage),
        ):
            yield ControlOperation(name=name, method=method, path=path, run=run)

    async def _signing(self, call: Call) -> Answer:
        """Of a function without signatures AWS says nothing at all (as recorded)."""
        await self._found(call, named(call, Role.READ))
        return Answer(200, {})

    async def _recursion(self, call: Call) -> Answer:
        found = await self._found(call, named(call, Role.READ))
        return Answer(200, RecursionConfig(recursive_loop=found.book.recursive_loop))

    async def _recurse(self, call: Call) -> Answer:
        name, wanted = named(call, Role.DEPLOY), read(call.body, RecursionConfig)
        await self._keep(call, name, recursive_loop=wanted.recursive_loop)
        return Answer(200, wanted)

    async def _runtime(self, call: Call) -> Answer:
        name = named(call, Role.READ)
        return Answer(200, _managed(call, name, await self._found(call, name)))

    async def _manage(self, call: Call) -> Answer:
        name, wanted = named(call, Role.DEPLOY), read(call.body, RuntimeManagementRequest)
        if wanted.update_runtime_on == "Manual" and not wanted.runtime_version_arn:
            raise bad_parameter("RuntimeVersionArn is required when UpdateRuntimeOn is Manual.")
        said = {
            "runtime_updates": wanted.update_runtime_on,
            "runtime_version": wanted.runtime_version_arn or "",
        }
        return Answer(200, _managed(call, name, await self._keep(call, name, **said)))

    async def _found(self, call: Call, name: FunctionName) -> Function:
        return await self._finder.version(call.principal.project, call.place, name)

    async def _keep(self, call: Call, name: FunctionName, **said: Any) -> Function:
        project = call.principal.project
        async with self._maker.names.held(project, [name.name]):
            function = await self._finder.function(project, call.place, name)
            book = msgspec.structs.replace(function.book, **said)
            await self._books.put(project, Kind.FUNCTION, name.name, book)
        return msgspec.structs.replace(function, book=book)


def _managed(call: Call, name: FunctionName, function: Function) -> RuntimeManagement:
    return RuntimeManagement(
        update_runtime_on=function.book.runtime_updates,
        runtime_version_arn=function.book.runtime_version or None,
        function_arn=call.place.function_arn(name.name, name.qualifier or LATEST),
    )
