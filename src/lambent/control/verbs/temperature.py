"""Temperature by hand: let a deployment cool down, or make it ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lambent.control.deployments import Deployments
from lambent.control.operations import Asked, Operation
from lambent.control.views import Views
from lambent.core.errors import CallerFault
from lambent.core.invocation import Role
from lambent.core.spec import Kind, Temperature
from lambent.pool.pool import Pool
from lambent.pool.routes import Route, Routes
from lambent.wire.api import ChillRequest, DeploymentView

CHILLED: Final = frozenset({Temperature.COLD, Temperature.WARM})


class TemperatureVerbs:
    """`chill` and `prime` of one deployment."""

    def __init__(self, deployments: Deployments, pool: Pool, routes: Routes, views: Views) -> None:
        self._deployments: Final = deployments
        self._pool: Final = pool
        self._routes: Final = routes
        self._views: Final = views

    def operations(self) -> Sequence[Operation]:
        """The table."""
        return (
            Operation(
                name="chill",
                method="POST",
                path="/deployments/{name}/chill",
                role=Role.DEPLOY,
                summary="Let a deployment that is not in use cool down; it wakes when it is invoked",
                run=self._chill,
                body=ChillRequest,
                reply=DeploymentView,
            ),
            Operation(
                name="prime",
                method="POST",
                path="/deployments/{name}/prime",
                role=Role.DEPLOY,
                summary="Load a deployment into its template, ready to be forked",
                run=self._prime,
                reply=DeploymentView,
            ),
        )

    async def _chill(self, asked: Asked) -> DeploymentView:
        if asked.body.to not in CHILLED:
            raise CallerFault(f"a deployment is chilled to cold or warm, not to {asked.body.to.value}")
        route = await self._route(asked)
        await self._pool.empty(route.plan.revision)
        await self._pool.chill(route.plan.revision, asked.body.to)
        return await self._view(asked)

    async def _prime(self, asked: Asked) -> DeploymentView:
        route = await self._route(asked)
        if route.needs_model:
            raise CallerFault(f"{route.name!r} has no model yet: invoke it, or run {route.spec.train!r}")
        await self._pool.engine.prime(route.plan)
        return await self._view(asked)

    async def _route(self, asked: Asked) -> Route:
        name = asked.path["name"]
        await self._deployments.active(asked.project, name)
        route = self._routes.get(asked.project, name)
        if route is None:
            raise CallerFault(f"{name!r} cannot be woken, its files are lost: deploy it again")
        if route.spec.kind is Kind.JOB:
            raise CallerFault(
                f"{name!r} is a job, which has no temperature: start it with `lambent run {name}`"
            )
        return route

    async def _view(self, asked: Asked) -> DeploymentView:
        revision = await self._deployments.active(asked.project, asked.path["name"])
        [view] = await self._views.deployments([revision], asked.base_url)
        return view
