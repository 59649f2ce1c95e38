"""What AWS's clients send to make and change functions, their versions and their aliases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, field

from lambent.wire.aws.shapes import (
    Architectures,
    Arn,
    DeadLetterConfig,
    Description,
    Environment,
    EphemeralStorage,
    FileSystemConfig,
    Handler,
    ImageConfig,
    LayerArn,
    LoggingConfig,
    RoleArn,
    Shape,
    SnapStart,
    Tags,
    TracingConfig,
    VersionName,
    VpcConfig,
)

S3Bucket = Annotated[str, Meta(min_length=3, max_length=63, pattern=r"^(?:[0-9A-Za-z\.\-_]*(?<!\.))\Z")]
S3Key = Annotated[str, Meta(min_length=1, max_length=1024)]
Timeout = Annotated[int, Meta(ge=1, le=5400)]
MemorySize = Annotated[int, Meta(ge=128, le=32_768)]
AliasName = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^(?:(?!^[0-9]+$)([a-zA-Z0-9-_]+))\Z")]
Weight = Annotated[float, Meta(ge=0.0, le=1.0)]


class FunctionCode(Shape, frozen=True, kw_only=True):
    """Code: a zip, or where one lies."""

    zip_file: bytes | None = None
    s3_bucket: S3Bucket | None = None
    s3_key: S3Key | None = None
    s3_object_version: S3Key | None = None
    image_uri: str | None = None


class FunctionSettings(Shape, frozen=True, kw_only=True):
    """What can be said of a function when it is made, and changed later."""

    handler: Handler | None = None
    description: Description | None = None
    timeout: Timeout | None = None
    memory_size: MemorySize | None = None
    vpc_config: VpcConfig | None = None
    environment: Environment | None = None
    runtime: str | None = None
    dead_letter_config: DeadLetterConfig | None = None
    kms_key_arn: Arn | None = field(default=None, name="KMSKeyArn")
    tracing_config: TracingConfig | None = None
    layers: list[LayerArn] | None = None
    file_system_configs: Annotated[list[FileSystemConfig], Meta(max_length=1)] | None = None
    image_config: ImageConfig | None = None
    ephemeral_storage: EphemeralStorage | None = None
    snap_start: SnapStart | None = None
    logging_config: LoggingConfig | None = None


class CreateFunctionRequest(FunctionSettings, frozen=True, kw_only=True):
    """CreateFunction."""

    function_name: str
    role: RoleArn
    code: FunctionCode
    publish: bool | None = None
    package_type: Literal["Zip", "Image"] | None = None
    tags: Tags | None = None
    architectures: Architectures | None = None
    # What nothing here does, and nobody may believe to be done.
    code_signing_config_arn: str | None = None
    tenancy_config: dict[str, object] | None = None
    durable_config: dict[str, object] | None = None
    capacity_provider_config: dict[str, object] | None = None


class UpdateConfigurationRequest(FunctionSettings, frozen=True, kw_only=True):
    """UpdateFunctionConfiguration: what is absent stays as it is."""

    role: RoleArn | None = None
    revision_id: str | None = None


class UpdateCodeRequest(FunctionCode, frozen=True, kw_only=True):
    """UpdateFunctionCode."""

    architectures: Architectures | None = None
    publish: bool | None = None
    dry_run: bool | None = None
    revision_id: str | None = None


class PublishVersionRequest(Shape, frozen=True, kw_only=True):
    """PublishVersion."""

    code_sha256: str | None = None
    description: Description | None = None
    revision_id: str | None = None


class RoutingConfig(Shape, frozen=True, kw_only=True):
    """Of an alias: which share of the traffic another version gets."""

    additional_version_weights: (
        dict[Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^(?:[0-9]+)\Z")], Weight] | None
    ) = None


class CreateAliasRequest(Shape, frozen=True, kw_only=True):
    """CreateAlias."""

    name: AliasName
    function_version: VersionName
    description: Description | None = None
    routing_config: RoutingConfig | None = None


class UpdateAliasRequest(Shape, frozen=True, kw_only=True):
    """UpdateAlias: what is absent stays as it is."""

    function_version: VersionName | None = None
    description: Description | None = None
    routing_config: RoutingConfig | None = None
    revision_id: str | None = None


class AliasConfiguration(Shape, frozen=True, kw_only=True):
    """An alias, as AWS gives it back."""

    alias_arn: str
    name: str
    function_version: str
    description: str
    revision_id: str
    routing_config: RoutingConfig | None = None


class ListAliasesResponse(Shape, frozen=True, kw_only=True):
    """ListAliases."""

    aliases: Sequence[AliasConfiguration]
    next_marker: str | None = None
