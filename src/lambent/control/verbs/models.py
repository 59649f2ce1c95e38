"""Registered models, and which of them serves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lambent.control.deployments import Deployments
from lambent.control.operations import Asked, Operation, Parameter
from lambent.control.registry import Registry, view
from lambent.core.errors import NotFound
from lambent.core.invocation import Role
from lambent.wire.api import ModelView


class ModelVerbs:
    """Everything under /models."""

    def __init__(self, registry: Registry, deployments: Deployments) -> None:
        self._registry: Final = registry
        self._deployments: Final = deployments

    def operations(self) -> Sequence[Operation]:
        """The table."""
        return (
            Operation(
                name="listModels",
                method="GET",
                path="/models",
                role=Role.READ,
                summary="Registered models",
                run=self._list,
                query=(Parameter("name", "only those of this deployment"),),
                reply=tuple[ModelView, ...],
            ),
            Operation(
                name="serveModel",
                method="POST",
                path="/models/{name}/{number}/serve",
                role=Role.DEPLOY,
                summary="Let a registered model serve, also one that its gate refused",
                run=self._serve,
                reply=ModelView,
            ),
        )

    async def _list(self, asked: Asked) -> tuple[ModelView, ...]:
        return tuple(await self._registry.all(asked.project, asked.text("name")))

    async def _serve(self, asked: Asked) -> ModelView:
        name, number = asked.path["name"], asked.path["number"]
        model = await self._registry.find(asked.project, name, int(number) if number.isdecimal() else 0)
        if model is None:
            raise NotFound(f"{name!r} has no model {number}; `lambent models {name}` lists what there is")
        await self._deployments.promote_model(asked.project, name, model)
        return view(await self._registry.overruled(model))
