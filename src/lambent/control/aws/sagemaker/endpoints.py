"""Endpoints: made, changed, described, listed, deleted. Each is a deployment of its name.

What was deployed in another way answers as an endpoint too, and is described and listed as one in service.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from lambent.control.aws.sagemaker.listing import page
from lambent.control.aws.sagemaker.models import Run, container_of, listed, named, tags_of
from lambent.control.aws.sagemaker.plans import desired, served, told
from lambent.control.aws.sagemaker.raising import Raising
from lambent.control.aws.sagemaker.shelf import Book, Plan, Shelf
from lambent.core.invocation import Role
from lambent.core.spec import Kind as DeploymentKind
from lambent.pool.routes import Route, Routes
from lambent.wire.aws import sagemaker_control as wire
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.faults import Fault
from lambent.wire.aws.reading import read
from lambent.wire.aws.sagemaker_control import UNDER_WAY, Kind, Status
from lambent.wire.typed import from_fields

replace: Final = msgspec.structs.replace


class EndpointVerbs:
    """Operations on endpoints."""

    def __init__(self, *, shelf: Shelf, raising: Raising, routes: Routes) -> None:
        self._shelf: Final = shelf
        self._raising: Final = raising
        self._routes: Final = routes

    def operations(self) -> Iterator[ControlOperation]:
        """By name."""
        yield from named(
            {
                "CreateEndpoint": self._alone(self._create),
                "UpdateEndpoint": self._alone(self._update),
                "UpdateEndpointWeightsAndCapacities": self._alone(self._update_weights),
                "DescribeEndpoint": self._describe,
                "ListEndpoints": self._list,
                "DeleteEndpoint": self._alone(self._delete),
            }
        )

    def _alone(self, change: Run) -> Run:
        """One change of an endpoint at a time: each looks at what there is before it writes."""

        async def run(call: Call) -> Answer:
            try:
                name = read(call.body, wire.NamedEndpoint).endpoint_name
            except Fault:
                return await change(call)  # which says all that is wrong
            async with self._shelf.held(call.principal.project, Kind.ENDPOINT, name):
                return await change(call)

        return run

    async def _create(self, call: Call) -> Answer:
        call.principal.require(Role.DEPLOY)
        wanted = read(call.body, wire.CreateEndpoint)
        name = wanted.endpoint_name
        if await self._find(call, name) is not None:
            raise wire.taken(call.place, Kind.ENDPOINT, name)
        plan = await self._plan(call, wanted.endpoint_config_name)
        book = self._shelf.new(name, plan=plan, status=Status.CREATING, tags=tags_of(wanted.tags))
        return await self._start(call, book)

    async def _update(self, call: Call) -> Answer:
        call.principal.require(Role.DEPLOY)
        wanted = read(call.body, wire.CreateEndpoint)
        book = await self._settled(call, wanted.endpoint_name)
        plan = await self._plan(call, wanted.endpoint_config_name)
        return await self._start(call, _changed(book, plan))

    async def _update_weights(self, call: Call) -> Answer:
        call.principal.require(Role.DEPLOY)
        wanted = read(call.body, wire.UpdateWeights)
        book = await self._settled(call, wanted.endpoint_name)
        plan = book.plan
        asked = {one.variant_name: one for one in wanted.desired_weights_and_capacities}
        if plan is None or (unknown := sorted(asked.keys() - {one.variant for one in plan.variants})):
            arn = wire.arn_of(call.place, Kind.ENDPOINT, book.name)
            which = ", ".join(unknown) if plan else ", ".join(asked)
            raise wire.invalid(f'Variant "{which}" does not exist in endpoint "{arn}".')
        variants = tuple(
            desired(one, asked[one.variant]) if one.variant in asked else one for one in plan.variants
        )
        return await self._start(call, _changed(book, replace(plan, variants=variants)))

    async def _describe(self, call: Call) -> Answer:
        call.principal.require(Role.READ)
        name = read(call.body, wire.NamedEndpoint).endpoint_name
        book = await self._find(call, name)
        if book is None:
            raise wire.missing(call.place, Kind.ENDPOINT, name)
        return Answer(200, self._described(call, book))

    async def _list(self, call: Call) -> Answer:
        call.principal.require(Role.READ)
        asked = read(call.body, wire.Listed)
        project = call.principal.project
        made = [self._seen(project, book) for book in await self._shelf.all(project, Kind.ENDPOINT)]
        names = {book.name for book in made}
        others = [
            _in_service(route)
            for route in self._routes.all()
            if route.project == project
            and route.spec.kind is DeploymentKind.MODEL
            and route.name not in names
        ]
        books, token = page([*made, *others], asked)
        return listed("Endpoints", [_summary(call, book) for book in books], token)

    async def _delete(self, call: Call) -> Answer:
        call.principal.require(Role.DEPLOY)
        name = read(call.body, wire.NamedEndpoint).endpoint_name
        project = call.principal.project
        book = await self._find(call, name)
        route = self._routes.get(project, name)
        is_made = book is not None and book.plan is not None
        if book is None or not (is_made or (route and route.spec.kind is DeploymentKind.MODEL)):
            raise wire.missing(call.place, Kind.ENDPOINT, name)
        await self._raising.stop(project, book.name)
        await self._raising.remove(project, book.name)
        await self._shelf.remove(project, Kind.ENDPOINT, name)
        return Answer(200)

    async def _start(self, call: Call, book: Book) -> Answer:
        project = call.principal.project
        book = await self._shelf.put(project, Kind.ENDPOINT, book)
        self._raising.start(project, book)
        return Answer(200, {"EndpointArn": wire.arn_of(call.place, Kind.ENDPOINT, book.name)})

    async def _plan(self, call: Call, config_name: str) -> Plan:
        project = call.principal.project
        config = await self._shelf.get(project, call.place, Kind.CONFIG, config_name)
        sent = from_fields({"EndpointConfigName": config.name, **config.sent}, wire.CreateEndpointConfig)
        variants = []
        for variant in sent.production_variants:
            model = await self._shelf.get(project, call.place, Kind.MODEL, variant.model_name or "")
            variants.append(served(variant, model, container_of(model)))
        return Plan(config=config.name, variants=tuple(variants))

    async def _settled(self, call: Call, name: str) -> Book:
        """One that was made here and is not being changed. Raises `Fault`."""
        book = await self._shelf.get(call.principal.project, call.place, Kind.ENDPOINT, name)
        if book.status in UNDER_WAY:
            raise wire.in_progress(call.place, name)
        return book

    async def _find(self, call: Call, name: str) -> Book | None:
        project = call.principal.project
        book = await self._shelf.find(project, Kind.ENDPOINT, name)
        if book is not None:
            return self._seen(project, book)
        route = self._routes.get(project, name)
        return _in_service(route) if route is not None and route.invocable else None

    def _seen(self, project: str, book: Book) -> Book:
        """A deployment may have been removed in another way."""
        if book.status is not Status.IN_SERVICE or self._routes.get(project, book.name) is not None:
            return book
        return replace(book, status=Status.OUT_OF_SERVICE, reason="its deployment was removed")

    def _described(self, call: Call, book: Book) -> dict[str, Any]:
        said = _summary(call, book)
        if book.plan is not None:
            said["EndpointConfigName"] = book.plan.config
            if book.status is not Status.CREATING:
                said["ProductionVariants"] = [told(one) for one in book.plan.variants]
        if book.reason:
            said["FailureReason"] = book.reason
        return said


def _changed(book: Book, plan: Plan) -> Book:
    return replace(book, plan=plan, before=book.plan, status=Status.UPDATING, reason="")


def _in_service(route: Route) -> Book:
    """A deployment that was made in another way."""
    return Book(
        name=route.name, created_unix_ms=route.created_unix_ms, modified_unix_ms=route.created_unix_ms
    )


def _summary(call: Call, book: Book) -> dict[str, Any]:
    return {
        "EndpointName": book.name,
        "EndpointArn": wire.arn_of(call.place, Kind.ENDPOINT, book.name),
        "CreationTime": book.created_unix_ms / 1e3,
        "LastModifiedTime": book.modified_unix_ms / 1e3,
        "EndpointStatus": book.status,
    }
