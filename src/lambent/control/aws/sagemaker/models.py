"""Models and endpoint configurations: made, described, listed, deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import msgspec

from lambent.control.aws.sagemaker.data import ModelData
from lambent.control.aws.sagemaker.listing import page
from lambent.control.aws.sagemaker.shelf import Book, Shelf
from lambent.core.errors import InvalidSpec
from lambent.core.invocation import Role
from lambent.core.routing import check_alias
from lambent.wire.aws import sagemaker_control as wire
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.reading import read
from lambent.wire.aws.sagemaker_control import Container, Kind
from lambent.wire.typed import from_fields

Run = Callable[[Call], Awaitable[Answer]]


class ModelVerbs:
    """Operations on models and on configurations."""

    def __init__(self, *, shelf: Shelf, data: ModelData) -> None:
        self._shelf: Final = shelf
        self._data: Final = data

    def operations(self) -> Iterator[ControlOperation]:
        """By name."""
        yield from named(
            {
                "CreateModel": self._create_model,
                "DescribeModel": self._describe_model,
                "ListModels": self._list_models,
                "DeleteModel": self._delete_model,
                "CreateEndpointConfig": self._create_config,
                "DescribeEndpointConfig": self._describe_config,
                "ListEndpointConfigs": self._list_configs,
                "DeleteEndpointConfig": self._delete_config,
            }
        )

    async def _create_model(self, call: Call) -> Answer:
        call.principal.require(Role.DEPLOY)
        wanted = read(call.body, wire.CreateModel)
        container = _container(wanted)
        await self._check_new(call, Kind.MODEL, wanted.model_name)
        digest = await self._data.keep(container, call.principal)
        await self._keep(call, Kind.MODEL, wanted.model_name, wanted.tags, digest=digest)
        return Answer(200, {"ModelArn": wire.arn_of(call.place, Kind.MODEL, wanted.model_name)})

    async def _describe_model(self, call: Call) -> Answer:
        name = read(call.body, wire.NamedModel).model_name
        return await self._described(call, Kind.MODEL, name, "Model")

    async def _list_models(self, call: Call) -> Answer:
        return await self._listed(call, Kind.MODEL, "Model")

    async def _delete_model(self, call: Call) -> Answer:
        return await self._deleted(call, Kind.MODEL, read(call.body, wire.NamedModel).model_name)

    async def _create_config(self, call: Call) -> Answer:
        call.principal.require(Role.DEPLOY)
        wanted = read(call.body, wire.CreateEndpointConfig)
        _check_variants(wanted)
        await self._check_new(call, Kind.CONFIG, wanted.endpoint_config_name)
        for variant in wanted.production_variants:
            await self._shelf.get(
                call.principal.project, call.place, Kind.MODEL, variant.model_name or variant.variant_name
            )
        name = wanted.endpoint_config_name
        await self._keep(call, Kind.CONFIG, name, wanted.tags)
        return Answer(200, {"EndpointConfigArn": wire.arn_of(call.place, Kind.CONFIG, name)})

    async def _describe_config(self, call: Call) -> Answer:
        name = read(call.body, wire.NamedConfig).endpoint_config_name
        return await self._described(call, Kind.CONFIG, name, "EndpointConfig")

    async def _list_configs(self, call: Call) -> Answer:
        return await self._listed(call, Kind.CONFIG, "EndpointConfig")

    async def _delete_config(self, call: Call) -> Answer:
        return await self._deleted(call, Kind.CONFIG, read(call.body, wire.NamedConfig).endpoint_config_name)

    async def _check_new(self, call: Call, kind: Kind, name: str) -> None:
        if await self._shelf.find(call.principal.project, kind, name) is not None:
            raise wire.taken(call.place, kind, name)

    async def _keep(self, call: Call, kind: Kind, name: str, tags: wire.Tags, *, digest: str = "") -> None:
        """What was sent, as far as it is told again."""
        sent = wire.kept_of(kind, msgspec.json.decode(call.body))
        book = self._shelf.new(name, digest=digest, sent=sent, tags=tags_of(tags))
        async with self._shelf.held(call.principal.project, kind, name):
            await self._check_new(call, kind, name)  # somebody may have been quicker
            await self._shelf.put(call.principal.project, kind, book)

    async def _described(self, call: Call, kind: Kind, name: str, title: str) -> Answer:
        call.principal.require(Role.READ)
        book = await self._shelf.get(call.principal.project, call.place, kind, name)
        return Answer(200, {**book.sent, **_summary(call, kind, book, title)})

    async def _listed(self, call: Call, kind: Kind, title: str) -> Answer:
        call.principal.require(Role.READ)
        books, token = page(await self._shelf.all(call.principal.project, kind), read(call.body, wire.Listed))
        return listed(f"{title}s", [_summary(call, kind, book, title) for book in books], token)

    async def _deleted(self, call: Call, kind: Kind, name: str) -> Answer:
        call.principal.require(Role.DEPLOY)
        if not await self._shelf.remove(call.principal.project, kind, name):
            raise wire.missing(call.place, kind, name)
        return Answer(200)


def named(runs: dict[str, Run]) -> Iterator[ControlOperation]:
    """Operations that are told by their names alone."""
    for name, run in runs.items():
        yield ControlOperation(name=name, method="POST", path="/", run=run)


def listed(title: str, items: list[dict[str, Any]], token: str | None) -> Answer:
    """A page."""
    return Answer(200, {title: items} | ({"NextToken": token} if token else {}))


def tags_of(tags: wire.Tags) -> dict[str, str]:
    """By key; of two the last counts."""
    return {tag.key: tag.value for tag in tags}


def container_of(model: Book) -> Container:
    """The container that a model was made with."""
    return _container(from_fields({"ModelName": model.name, **model.sent}, wire.CreateModel))


def _container(wanted: wire.CreateModel) -> Container:
    containers = wanted.containers or ([wanted.primary_container] if wanted.primary_container else [])
    if len(containers) != 1:
        raise wire.invalid(
            "Give one container: pipelines of several are not run here"
            if containers
            else "Primary Container or Containers must be provided."
        )
    (container,) = containers
    if container.mode == "MultiModel":
        raise wire.invalid("Multi-model containers are not run here: give each model an endpoint of its own")
    return container


def _check_variants(wanted: wire.CreateEndpointConfig) -> None:
    names = [variant.variant_name for variant in wanted.production_variants]
    if len({*names}) != len(names):
        raise wire.invalid("Production variant names must be unique.")
    if len(names) > wire.VARIANTS_MAX or wanted.shadow_production_variants:
        raise wire.invalid(
            f"An endpoint has at most {wire.VARIANTS_MAX} production variants here, and no shadow variants"
        )
    for variant in wanted.production_variants:
        try:
            check_alias(variant.variant_name)
        except InvalidSpec as error:
            raise wire.invalid(error.message) from error
        serverless = variant.serverless_config
        if serverless and (serverless.provisioned_concurrency or 0) > serverless.max_concurrency:
            raise wire.invalid(
                "Provisioned concurrency must be less than or equal to max concurrency for variant "
                f"{variant.variant_name}."
            )
        if variant.model_name is None:
            raise wire.invalid(
                "Inference components are not run here: a variant must name its model in ModelName"
            )


def _summary(call: Call, kind: Kind, book: Book, title: str) -> dict[str, Any]:
    return {
        f"{title}Name": book.name,
        f"{title}Arn": wire.arn_of(call.place, kind, book.name),
        "CreationTime": book.created_unix_ms / 1e3,
    }
