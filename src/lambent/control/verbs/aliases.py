"""Aliases and what is on trial under them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lambent.control.aliases import Aliasing
from lambent.control.operations import Asked, Operation
from lambent.core.invocation import Role
from lambent.wire.aliases import AliasRequest, AliasView, PromoteRequest

PATH: Final = "/deployments/{name}/aliases"


class AliasVerbs:
    """Everything under /deployments/{name}/aliases, and /promote."""

    def __init__(self, aliasing: Aliasing) -> None:
        self._aliasing: Final = aliasing

    def operations(self) -> Sequence[Operation]:
        """The table."""
        return (
            Operation(
                name="listAliases",
                method="GET",
                path=PATH,
                role=Role.READ,
                summary="The aliases of a deployment; that with an empty name is its own traffic",
                run=self._list,
                reply=tuple[AliasView, ...],
            ),
            Operation(
                name="putAlias",
                method="PUT",
                path=PATH + "/{alias}",
                role=Role.DEPLOY,
                summary="Let an alias stand for a revision, or split its traffic between two",
                run=self._put,
                body=AliasRequest,
                reply=AliasView,
            ),
            Operation(
                name="removeAlias",
                method="DELETE",
                path=PATH + "/{alias}",
                role=Role.DEPLOY,
                summary="Take an alias away",
                run=self._remove,
                status=204,
            ),
            Operation(
                name="promote",
                method="POST",
                path="/deployments/{name}/promote",
                role=Role.DEPLOY,
                summary="Give what is on trial more of the traffic, or all of it",
                run=self._promote,
                body=PromoteRequest,
                reply=AliasView,
            ),
        )

    async def _list(self, asked: Asked) -> tuple[AliasView, ...]:
        return await self._aliasing.all(asked.project, asked.path["name"])

    async def _put(self, asked: Asked) -> AliasView:
        # A revision that hangs while it is loaded must not keep the name when nobody waits for it.
        put = self._aliasing.put(asked.project, asked.path["name"], asked.path["alias"], asked.body)
        return await asked.while_present(put)

    async def _remove(self, asked: Asked) -> None:
        await self._aliasing.remove(asked.project, asked.path["name"], asked.path["alias"])

    async def _promote(self, asked: Asked) -> AliasView:
        return await self._aliasing.promote(asked.project, asked.path["name"], asked.body)
