"""Functions and their versions as they are found, and as AWS's clients see them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import platform
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from lambent.control.aws.books import Books
from lambent.control.aws.state import AliasBook, CodeBook, FunctionBook, Kind, VersionBook
from lambent.core.errors import NotFound
from lambent.core.spec import MIB, DeploymentSpec
from lambent.core.spec import Kind as DeploymentKind
from lambent.storage.aliases import Alias, Aliases
from lambent.storage.base import Artifacts, Deployment, Deployments, Revision
from lambent.wire.aws.faults import Fault, not_found
from lambent.wire.aws.function_requests import RoutingConfig
from lambent.wire.aws.functions import (
    EnvironmentResponse,
    FunctionConfiguration,
    ImageConfigResponse,
    LayerReference,
    RuntimeVersionConfig,
    SnapStartResponse,
    vpc_answer,
)
from lambent.wire.aws.names import LATEST, FunctionName, Place
from lambent.wire.aws.shapes import EphemeralStorage, LoggingConfig, TracingConfig

ALIAS_NAME: Final = re.compile(r"[a-zA-Z0-9_-]+")
ROLE: Final = "arn:aws:iam::{account}:role/lambent"
OWN_RUNTIME: Final = "python" + ".".join(platform.python_version_tuple()[:2])


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A function or one version of it. `deployment` is its own, whichever version this is."""

    deployment: Deployment
    revision: Revision
    book: FunctionBook
    version: str = LATEST

    @property
    def name(self) -> str:
        """What it is called."""
        return self.deployment.name

    @property
    def spec(self) -> DeploymentSpec:
        """How it runs."""
        return self.revision.spec


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of a function that is made or changed. Nothing is told in lists."""

    state: str | None = "Active"
    state_reason: str | None = None
    state_reason_code: str | None = None
    last_update_status: str | None = "Successful"
    last_update_status_reason: str | None = None
    last_update_status_reason_code: str | None = None


UNTOLD: Final = Status(state=None, last_update_status=None)
READY: Final = Status()
PENDING: Final = Status(
    state="Pending",
    state_reason="The function is being created.",
    state_reason_code="Creating",
    last_update_status=None,
)
UPDATING: Final = Status(
    last_update_status="InProgress",
    last_update_status_reason="The function is being created.",
    last_update_status_reason_code="Creating",
)


class Finder:
    """Looks functions up."""

    def __init__(self, store: Deployments, aliases: Aliases, books: Books, artifacts: Artifacts) -> None:
        self._store: Final = store
        self._aliases: Final = aliases
        self._books: Final = books
        self._artifacts: Final = artifacts

    async def find(self, project: str, name: str) -> Function | None:
        """The function of that name as it is now, or None. A job is none."""
        deployment = await asyncio.to_thread(self._store.find, project, name)
        if deployment is None:
            return None
        book = await self._books.find(FunctionBook, project, Kind.FUNCTION, name)
        return await asyncio.to_thread(self._latest, deployment, book)

    async def function(self, project: str, place: Place, name: FunctionName) -> Function:
        """The same, where it must be there. Raises `Fault`."""
        found = await self.find(project, name.name)
        if found is None:
            raise not_found(place.function_arn(name.name, name.qualifier))
        return found

    async def version(self, project: str, place: Place, name: FunctionName) -> Function:
        """What a name with its qualifier stands for: $LATEST, a version, or an alias' version.

        Raises `Fault`.
        """
        found = await self.find(project, name.name)
        wanted = name.qualifier
        if found is None and wanted and ALIAS_NAME.fullmatch(wanted) and not wanted.isdecimal():
            raise cannot_find_alias(place.function_arn(name.name, wanted))
        if found is None:
            raise not_found(place.function_arn(name.name, wanted))
        if wanted in ("", LATEST):
            return found
        versions = await self.versions(found)
        if not wanted.isdecimal():
            aliases = await self.aliases(found)
            if wanted not in aliases and ALIAS_NAME.fullmatch(wanted):
                raise cannot_find_alias(place.function_arn(name.name, wanted))
            wanted = aliases[wanted].function_version if wanted in aliases else wanted
        if wanted == LATEST:
            return found
        if wanted not in versions:
            raise not_found(place.function_arn(name.name, name.qualifier))
        return versions[wanted]

    async def aliases(self, function: Function) -> Mapping[str, AliasBook]:
        """The aliases by their names: those of AWS's clients, and those that `lambent alias` made."""
        project, name = function.deployment.project, function.name
        books = await self._books.all(AliasBook, project, Kind.ALIAS, name)
        kept = await asyncio.to_thread(self._aliases.of, project, name)
        others = [one for one in kept if one.name not in books and one.name and not one.name.isdecimal()]
        if others:
            versions = {one.revision.id: number for number, one in (await self.versions(function)).items()}
            versions[function.deployment.active_revision] = LATEST
            books |= {one.name: _seen(one, versions) for one in others}
        return dict(sorted(books.items()))

    async def versions(self, function: Function) -> Mapping[str, Function]:
        """The published versions by their numbers, in order."""
        project, name = function.deployment.project, function.name
        books = await self._books.all(VersionBook, project, Kind.VERSION, name)
        return await asyncio.to_thread(self._versions, function.deployment, books)

    async def all(self, project: str) -> Sequence[Function]:
        """Every function of a project, by name."""
        books = await self._books.of_kind(FunctionBook, project, Kind.FUNCTION)
        return await asyncio.to_thread(self._all, project, books)

    def _all(self, project: str, books: Mapping[tuple[str, str], FunctionBook]) -> Sequence[Function]:
        found = (self._latest(one, books.get((one.name, ""))) for one in self._store.all(project))
        return sorted((one for one in found if one is not None), key=lambda one: one.name)

    def _latest(self, deployment: Deployment, book: FunctionBook | None) -> Function | None:
        try:
            revision = self._store.revision(deployment.active_revision)
        except NotFound:  # it was deleted meanwhile
            return None
        if revision.spec.kind is DeploymentKind.JOB:
            return None
        return Function(deployment=deployment, revision=revision, book=self._fitting(book, revision))

    def _versions(self, deployment: Deployment, books: Mapping[str, VersionBook]) -> Mapping[str, Function]:
        found: dict[str, Function] = {}
        for number in sorted(books, key=int):
            try:
                revision = self._store.revision(books[number].revision)
            except NotFound:
                continue
            found[number] = Function(
                deployment=deployment, revision=revision, book=books[number].function, version=number
            )
        return found

    def _fitting(self, book: FunctionBook | None, revision: Revision) -> FunctionBook:
        """The book, corrected where the function was changed by other ways than AWS's API."""
        spec, digest = revision.spec, revision.code_digest or revision.model_digest
        if book is not None and book.code.digest == digest:
            return book
        code = CodeBook(
            sha256=base64.b64encode(hashlib.sha256(revision.id.encode()).digest()).decode(),
            size_bytes=self._artifacts.size_bytes(digest) if digest else 0,
            digest=digest,
        )
        own = FunctionBook(
            role=ROLE.format(account=Place().account),
            runtime=OWN_RUNTIME,
            handler=spec.entrypoint.replace(":", ".") or spec.adapter or "model",
            code=code,
            revision_id=str(uuid.uuid5(uuid.NAMESPACE_OID, revision.id)),
            modified_unix_ms=revision.created_unix_ms,
        )
        if book is None:
            return own
        return msgspec.structs.replace(
            book, handler=own.handler, code=code, revision_id=own.revision_id,
            modified_unix_ms=own.modified_unix_ms,
        )  # fmt: skip


def described(
    function: Function, place: Place, status: Status, *, qualifier: str | None = None
) -> FunctionConfiguration:
    """A function as AWS's clients see it.

    The ARN has the `qualifier` by which it was asked for; None for that of a published version alone.
    """
    if qualifier is None:
        qualifier = "" if function.version == LATEST else function.version
    spec, book = function.spec, function.book
    settings = book.settings
    snap_start = settings.snap_start.apply_on if settings.snap_start else None
    return FunctionConfiguration(
        function_name=function.name,
        function_arn=place.function_arn(function.name, qualifier),
        runtime=book.runtime,
        role=book.role,
        handler=book.handler,
        code_size=book.code.size_bytes,
        description=spec.description[:256],
        timeout=max(1, min(5400, round(spec.timeout_s))),
        memory_size=max(128, min(32_768, spec.memory_bytes // MIB)),
        last_modified=aws_time(book.modified_unix_ms),
        code_sha256=book.code.sha256,
        version=function.version,
        tracing_config=settings.tracing_config or TracingConfig(mode="PassThrough"),
        revision_id=book.revision_id if function.version != LATEST else _state_id(book.revision_id, status),
        package_type="Zip",
        architectures=settings.architectures or ["x86_64"],
        ephemeral_storage=settings.ephemeral_storage or EphemeralStorage(size=512),
        snap_start=SnapStartResponse(apply_on=snap_start or "None", optimization_status="Off"),
        runtime_version_config=_build(place, book.runtime) if status is not UNTOLD else None,
        logging_config=_logging(settings.logging_config, function.name),
        # Once variables were said, they are given back, though there be none.
        environment=EnvironmentResponse(variables=spec.env) if spec.env or settings.environment else None,
        vpc_config=vpc_answer(settings.vpc_config),
        dead_letter_config=settings.dead_letter_config,
        kms_key_arn=settings.kms_key_arn or None,
        layers=[LayerReference(arn=one.arn, code_size=one.code_size) for one in book.layers] or None,
        file_system_configs=settings.file_system_configs or None,
        image_config_response=(
            ImageConfigResponse(image_config=settings.image_config) if settings.image_config else None
        ),
        **msgspec.structs.asdict(status),
    )


def _state_id(revision_id: str, status: Status) -> str:
    """A function that turns active, or whose change is done, has changed once more, as on AWS."""
    if status in (READY, UNTOLD):
        return revision_id
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{revision_id} {status.state} {status.last_update_status}"))


def aws_time(unix_ms: int) -> str:
    """A time as AWS Lambda writes it."""
    moment = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "+0000")


def cannot_find_alias(arn: str) -> Fault:
    """No alias of this ARN."""
    return Fault("ResourceNotFoundException", 404, f"Cannot find alias arn: {arn}", key="Message")


def _seen(alias: Alias, versions: Mapping[str, str]) -> AliasBook:
    """An alias of ours as AWS's clients see it. What it names and nobody published is the latest to them."""
    weights = {versions.get(alias.candidate, LATEST): alias.percent / 100} if alias.candidate else None
    content = f"{alias.revision} {alias.candidate} {alias.percent} {alias.changed_unix_ms}"
    return AliasBook(
        function_version=versions.get(alias.revision, LATEST),
        description="",
        revision_id=str(uuid.uuid5(uuid.NAMESPACE_OID, content)),
        routing=RoutingConfig(additional_version_weights=weights if LATEST not in (weights or {}) else None),
    )


def _build(place: Place, runtime: str) -> RuntimeVersionConfig:
    build = hashlib.sha256(f"{runtime} {platform.python_version()}".encode()).hexdigest()
    return RuntimeVersionConfig(runtime_version_arn=f"arn:aws:lambda:{place.region}::runtime:{build}")


def _logging(asked: LoggingConfig | None, name: str) -> LoggingConfig:
    asked = asked or LoggingConfig()
    group = asked.log_group or f"/aws/lambda/{name}"
    if asked.log_format != "JSON":  # text has no levels
        return LoggingConfig(log_format="Text", log_group=group)
    return LoggingConfig(
        log_format="JSON",
        application_log_level=asked.application_log_level or "INFO",
        system_log_level=asked.system_log_level or "INFO",
        log_group=group,
    )
