"""CreateFunction and what reads, changes and deletes functions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.control.aws.calls import named
from lambent.control.aws.code import CodeStore, check_no_image
from lambent.control.aws.found import ALIAS_NAME, PENDING, READY, UNTOLD, Finder, Function, described
from lambent.control.aws.layers_used import LayersUsed
from lambent.control.aws.making import Maker, new_revision_id
from lambent.control.aws.publishing import Publishing
from lambent.control.aws.specs import changed, fresh, grounded
from lambent.control.aws.state import FunctionBook
from lambent.control.aws.tags import check_tags
from lambent.control.deployments import Deployments
from lambent.core.errors import NotFound
from lambent.core.invocation import Role
from lambent.core.spec import DeploymentSpec
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.faults import Fault, bad_parameter, conflict, not_found
from lambent.wire.aws.function_requests import (
    CreateFunctionRequest,
    UpdateCodeRequest,
    UpdateConfigurationRequest,
)
from lambent.wire.aws.functions import (
    Concurrency,
    EnvironmentSaid,
    FunctionConfiguration,
    GetFunctionResponse,
    ListFunctionsResponse,
    Settings,
)
from lambent.wire.aws.names import LATEST, FunctionName, read_new_name
from lambent.wire.aws.reading import Query, page, read
from lambent.wire.aws.shapes import CodeLocation, DeadLetterConfig, LoggingConfig

FUNCTIONS: Final = "/2015-03-31/functions"
ONE: Final = f"{FUNCTIONS}/{{FunctionName}}"
# Of a request with a zip in base64, as AWS says it.
UPLOAD_BYTES_MAX: Final = 70_167_211
NO_ZIP_FIELDS: Final = (
    "Runtime and Handler are mandatory parameters for functions created with deployment packages."
)
PAGE_MAX: Final = 50


class FunctionVerbs:
    """Functions, but for their versions."""

    def __init__(
        self,
        *,
        finder: Finder,
        maker: Maker,
        code: CodeStore,
        layers: LayersUsed,
        publishing: Publishing,
        deployments: Deployments,
        clock: Clock,
    ) -> None:
        self._finder: Final = finder
        self._maker: Final = maker
        self._code: Final = code
        self._layers: Final = layers
        self._publishing: Final = publishing
        self._deployments: Final = deployments
        self._clock: Final = clock

    def operations(self) -> Iterator[ControlOperation]:
        """What AWS calls them."""
        for name, method, path, run in (
            ("GetFunction", "GET", ONE, self._get),
            ("GetFunctionConfiguration", "GET", f"{ONE}/configuration", self._get_configuration),
            ("UpdateFunctionConfiguration", "PUT", f"{ONE}/configuration", self._update_configuration),
            ("DeleteFunction", "DELETE", ONE, self._delete),
            ("ListFunctions", "GET", FUNCTIONS, self._list),
        ):
            yield ControlOperation(name=name, method=method, path=path, run=run)
        for name, method, path, run in (
            ("CreateFunction", "POST", FUNCTIONS, self._create),
            ("UpdateFunctionCode", "PUT", f"{ONE}/code", self._update_code),
        ):
            yield ControlOperation(
                name=name, method=method, path=path, run=run, request_bytes_max=UPLOAD_BYTES_MAX
            )

    async def _create(self, call: Call) -> Answer:
        call.principal.require(Role.DEPLOY)
        request = read(call.body, CreateFunctionRequest)
        name = read_new_name(request.function_name, call.place)
        _check_promises(request)
        check_no_image(request.code.image_uri)
        if request.package_type == "Image":
            check_no_image("")
        if request.runtime is None or request.handler is None:
            raise bad_parameter(NO_ZIP_FIELDS)
        project, tags = call.principal.project, request.tags or {}
        check_tags(tags)
        spec = changed(fresh(name), request)
        layers = await self._layers.resolve(project, call.place, request.layers or ())
        book = FunctionBook(
            role=request.role,
            runtime=request.runtime,
            handler=request.handler,
            code=await self._code.keep(request.code, call.principal),
            revision_id=new_revision_id(),
            modified_unix_ms=self._clock.unix_ms(),
            settings=_settings(Settings(), request),
            layers=layers,
            tags=tags,
        )
        if self._maker.names.busy(project, name):
            raise conflict(f"Function already exist: {name}")
        async with self._maker.names.held(project, [name]):
            made = await self._maker.create(project, await self._grounded(spec, book), book)
            told = self._told(call, made, "")  # first: what is loading now may be ready by then
            if request.publish:
                version = await self._publishing.publish(made, description=None)
                told = msgspec.structs.replace(told, version=version.version)
        return Answer(201, told)

    async def _update_code(self, call: Call) -> Answer:
        name, project = named(call, Role.DEPLOY), call.principal.project
        request = read(call.body, UpdateCodeRequest)
        check_no_image(request.image_uri)
        await self._finder.function(project, call.place, name)
        code = await self._code.keep(request, call.principal)

        async def change(before: Function) -> tuple[DeploymentSpec, FunctionBook]:
            settings = before.book.settings
            if request.architectures:
                settings = msgspec.structs.replace(settings, architectures=request.architectures)
            book = msgspec.structs.replace(before.book, code=code, settings=settings)
            return await self._grounded(msgspec.structs.replace(before.spec, version=LATEST), book), book

        if request.dry_run:
            before = await self._finder.function(project, call.place, name)
            _, book = await change(before)
            return Answer(200, described(msgspec.structs.replace(before, book=book), call.place, READY))
        made = await self._maker.change(project, call.place, name, change, request.revision_id)
        told = self._told(call, made, None)
        if request.publish:
            async with self._maker.names.held(project, [made.name]):
                version = await self._publishing.publish(made, description=None)
            is_new = version.version != str(made.book.versions_made)
            told = described(version, call.place, PENDING if is_new else READY)
        return Answer(200, told)

    async def _update_configuration(self, call: Call) -> Answer:
        name, project = named(call, Role.DEPLOY), call.principal.project
        request = read(call.body, UpdateConfigurationRequest)
        layers = None
        if request.layers is not None:
            layers = await self._layers.resolve(project, call.place, request.layers)

        async def change(before: Function) -> tuple[DeploymentSpec, FunctionBook]:
            book = before.book
            book = msgspec.structs.replace(
                book,
                role=request.role or book.role,
                runtime=request.runtime or book.runtime,
                handler=request.handler or book.handler,
                layers=book.layers if layers is None else layers,
                settings=_settings(book.settings, request),
            )
            spec = changed(msgspec.structs.replace(before.spec, version=LATEST), request)
            return await self._grounded(spec, book), book

        made = await self._maker.change(project, call.place, name, change, request.revision_id)
        return Answer(200, self._told(call, made, None))

    async def _get(self, call: Call) -> Answer:
        name = named(call, Role.READ)
        found = await self._asked_for(call, name)
        latest = await self._finder.function(call.principal.project, call.place, name)
        reserved = latest.book.reserved
        location = self._code.location(found.book.code, call.base_url)
        response = GetFunctionResponse(
            configuration=self._told(call, found, name.qualifier),
            code=CodeLocation(repository_type="S3", location=location),
            tags=latest.book.tags or None,
            concurrency=None if reserved is None else Concurrency(reserved_concurrent_executions=reserved),
        )
        return Answer(200, response)

    async def _get_configuration(self, call: Call) -> Answer:
        name = named(call, Role.READ)
        found = await self._asked_for(call, name)
        return Answer(200, self._told(call, found, found.version if name.qualifier else ""))

    async def _asked_for(self, call: Call, name: FunctionName) -> Function:
        """What a name stands for. Of an alias that there is not AWS says here that there is no function."""
        try:
            return await self._finder.version(call.principal.project, call.place, name)
        except Fault as error:
            raise not_found(call.place.function_arn(name.name, name.qualifier)) from error

    async def _list(self, call: Call) -> Answer:
        call.principal.require(Role.READ)
        query = Query(call.query)
        every = query.word("FunctionVersion", ("ALL",))
        found: Sequence[Function] = await self._finder.all(call.principal.project)
        if every:
            found = [one for each in found for one in (each, *(await self._finder.versions(each)).values())]
        part, marker = page(found, query, key=_key, most=PAGE_MAX)
        listed = [
            described(one, call.place, UNTOLD, qualifier=one.version if every else None) for one in part
        ]
        return Answer(200, ListFunctionsResponse(functions=listed, next_marker=marker))

    async def _delete(self, call: Call) -> Answer:
        name = named(call, Role.DEPLOY)
        project = call.principal.project
        if name.qualifier == LATEST:
            raise bad_parameter("$LATEST version cannot be deleted without deleting the function.")
        if ALIAS_NAME.fullmatch(name.qualifier) and not name.qualifier.isdecimal():
            raise bad_parameter("Deletion of aliases is not currently supported.")
        await self._finder.function(project, call.place, FunctionName(name.name))
        if name.qualifier:
            await self._publishing.delete(project, call.place, name)
        else:
            self._maker.forget(project, name.name)
            try:
                await self._deployments.remove(project, name.name)
            except NotFound as error:  # somebody else was faster
                raise not_found(call.place.function_arn(name.name)) from error
        return Answer(204)

    async def _grounded(self, spec: DeploymentSpec, book: FunctionBook) -> DeploymentSpec:
        return await asyncio.to_thread(grounded, spec, self._code.folder(book.code), book.layers)

    def _told(self, call: Call, function: Function, qualifier: str | None) -> FunctionConfiguration:
        status = self._maker.status(call.principal.project, function.name, function.version)
        return described(function, call.place, status, qualifier=qualifier)


def _check_promises(request: CreateFunctionRequest) -> None:
    """Raise `Fault` for what would have to be promised and cannot be kept."""
    for member, asked, why in (
        ("CodeSigningConfigArn", request.code_signing_config_arn, "no code is signed"),
        ("TenancyConfig", request.tenancy_config, "tenants of one function share its workers"),
        ("DurableConfig", request.durable_config, "there are no durable executions"),
        ("CapacityProviderConfig", request.capacity_provider_config, "there are no capacity providers"),
    ):
        if asked:
            raise bad_parameter(f"{member} is not supported here: {why}")


def _settings(before: Settings, request: CreateFunctionRequest | UpdateConfigurationRequest) -> Settings:
    said = {name: getattr(request, name, None) for name in Settings.__struct_fields__}
    if request.environment is not None:
        said["environment"] = EnvironmentSaid()
    if request.dead_letter_config == DeadLetterConfig():  # nothing is said of it (recorded)
        said["dead_letter_config"] = None
    if (logging := request.logging_config) is not None:
        said["logging_config"] = _levelled(before.logging_config, logging)
    return msgspec.structs.replace(before, **{name: one for name, one in said.items() if one is not None})


def _levelled(before: LoggingConfig | None, asked: LoggingConfig) -> LoggingConfig:
    """Raise `Fault` for levels of lines that are text, which have none."""
    log_format = asked.log_format or (before.log_format if before is not None else None)
    if log_format != "JSON" and (asked.application_log_level or asked.system_log_level):
        raise bad_parameter("ApplicationLogLevel and SystemLogLevel can be set where LogFormat is JSON only.")
    return msgspec.structs.replace(asked, log_format=log_format)


def _key(function: Function) -> str:
    return function.name if function.version == LATEST else f"{function.name}:{function.version:>10}"
