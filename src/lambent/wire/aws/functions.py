"""A function as AWS's clients see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import field

from lambent.wire.aws.shapes import (
    CodeLocation,
    DeadLetterConfig,
    EphemeralStorage,
    FileSystemConfig,
    ImageConfig,
    LoggingConfig,
    Shape,
    SnapStart,
    Tags,
    TracingConfig,
    VpcConfig,
    VpcConfigResponse,
)

NETWORK: Final = "vpc-00000000000000000"  # every function's is this machine's


class EnvironmentResponse(Shape, frozen=True, kw_only=True):
    """Environment variables."""

    variables: dict[str, str]


class SnapStartResponse(Shape, frozen=True, kw_only=True):
    """What was asked of AWS's snapshots, and whether they are used."""

    apply_on: str = field(name="ApplyOn")
    optimization_status: str = field(name="OptimizationStatus")


class RuntimeVersionConfig(Shape, frozen=True, kw_only=True):
    """Which build of a runtime runs."""

    runtime_version_arn: str


class ImageConfigResponse(Shape, frozen=True, kw_only=True):
    """What overrides a container image's own."""

    image_config: ImageConfig


class LayerReference(Shape, frozen=True, kw_only=True):
    """A layer that a function uses."""

    arn: str
    code_size: int


class FunctionConfiguration(Shape, frozen=True, kw_only=True):
    """A function or one version of it, with every member that AWS always sends."""

    function_name: str
    function_arn: str
    runtime: str
    role: str
    handler: str
    code_size: int
    description: str
    timeout: int
    memory_size: int
    last_modified: str
    code_sha256: str
    version: str
    tracing_config: TracingConfig
    revision_id: str
    package_type: str
    architectures: Sequence[str]
    ephemeral_storage: EphemeralStorage
    snap_start: SnapStartResponse
    logging_config: LoggingConfig
    runtime_version_config: RuntimeVersionConfig | None = None
    environment: EnvironmentResponse | None = None
    vpc_config: VpcConfigResponse | None = None
    dead_letter_config: DeadLetterConfig | None = None
    kms_key_arn: str | None = field(default=None, name="KMSKeyArn")
    layers: Sequence[LayerReference] | None = None
    file_system_configs: Sequence[FileSystemConfig] | None = None
    image_config_response: ImageConfigResponse | None = None
    state: str | None = None
    state_reason: str | None = None
    state_reason_code: str | None = None
    last_update_status: str | None = None
    last_update_status_reason: str | None = None
    last_update_status_reason_code: str | None = None


class Concurrency(Shape, frozen=True, kw_only=True):
    """How many calls are reserved for a function."""

    reserved_concurrent_executions: int | None = None


def vpc_answer(said: VpcConfig | None) -> VpcConfigResponse | None:
    """The network that was asked for, as it is given back."""
    if said is None:
        return None
    subnets, groups = said.subnet_ids or [], said.security_group_ids or []
    return VpcConfigResponse(
        subnet_ids=subnets,
        security_group_ids=groups,
        ipv6_allowed_for_dual_stack=bool(said.ipv6_allowed_for_dual_stack),
        vpc_id=NETWORK if subnets else "",
    )


class GetFunctionResponse(Shape, frozen=True, kw_only=True):
    """GetFunction."""

    configuration: FunctionConfiguration
    code: CodeLocation
    tags: Tags | None = None
    concurrency: Concurrency | None = None


class ListFunctionsResponse(Shape, frozen=True, kw_only=True):
    """ListFunctions."""

    functions: Sequence[FunctionConfiguration]
    next_marker: str | None = None


class ListVersionsResponse(Shape, frozen=True, kw_only=True):
    """ListVersionsByFunction."""

    versions: Sequence[FunctionConfiguration]
    next_marker: str | None = None


class EnvironmentSaid(Shape, frozen=True, kw_only=True):
    """That variables were said, be they none. What they are is in the specification."""


class Settings(Shape, frozen=True, kw_only=True):
    """What AWS's clients set and nothing here acts on: kept, and given back."""

    vpc_config: VpcConfig | None = None
    dead_letter_config: DeadLetterConfig | None = None
    kms_key_arn: str | None = field(default=None, name="KMSKeyArn")
    tracing_config: TracingConfig | None = None
    file_system_configs: Sequence[FileSystemConfig] | None = None
    image_config: ImageConfig | None = None
    ephemeral_storage: EphemeralStorage | None = None
    snap_start: SnapStart | None = None
    logging_config: LoggingConfig | None = None
    architectures: Sequence[str] | None = None
    environment: EnvironmentSaid | None = None
