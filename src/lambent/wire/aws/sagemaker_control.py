"""What SageMaker's clients send to make models, endpoint configurations and endpoints; its names and faults.

What has no meaning here is kept as it was sent, and given back: see `KEPT`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, field

from lambent.wire.aws.faults import Fault
from lambent.wire.aws.names import Place
from lambent.wire.aws.shapes import Shape

Name = Annotated[str, Meta(max_length=63, pattern=r"^(?:[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62})\Z")]
RoleArn = Annotated[
    str,
    Meta(
        min_length=20,
        max_length=2048,
        pattern=r"^(?:arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+)\Z",
    ),
]
Location = Annotated[str, Meta(max_length=1024)]
Weight = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
ARN: Final = re.compile(
    r"arn:aws[a-z-]*:sagemaker:[a-z0-9-]*:[0-9]{12}:(model|endpoint-config|endpoint)/(.+)"
)
PAGE: Final = 10
VARIANTS_MAX: Final = 2  # whose traffic a split can share


class Kind(StrEnum):
    """What is made, as ARNs call it."""

    MODEL = "model"
    CONFIG = "endpoint-config"
    ENDPOINT = "endpoint"


class Status(StrEnum):
    """How an endpoint stands. The first two end by themselves, in one of the others."""

    CREATING = "Creating"
    UPDATING = "Updating"
    IN_SERVICE = "InService"
    FAILED = "Failed"
    OUT_OF_SERVICE = "OutOfService"


UNDER_WAY: Final = (Status.CREATING, Status.UPDATING)
# Faults of callers, by their names elsewhere: here all are called alike.
CALLERS: Final = frozenset(
    {"InvalidParameterValueException", "ResourceNotFoundException", "ResourceConflictException"}
)
TITLES: Final[Mapping[Kind, str]] = {
    Kind.MODEL: "model",
    Kind.CONFIG: "endpoint configuration",
    Kind.ENDPOINT: "endpoint",
}
# The members of a request that are told again when it is described.
KEPT: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.MODEL: (
        "PrimaryContainer", "Containers", "InferenceExecutionConfig", "ExecutionRoleArn", "VpcConfig",
        "EnableNetworkIsolation",
    ),
    Kind.CONFIG: (
        "ProductionVariants", "DataCaptureConfig", "KmsKeyId", "AsyncInferenceConfig", "ExplainerConfig",
        "ExecutionRoleArn", "VpcConfig", "EnableNetworkIsolation",
    ),
    Kind.ENDPOINT: (),
}  # fmt: skip


class Tag(Shape, frozen=True, kw_only=True):
    """A word that somebody put on something."""

    key: Annotated[str, Meta(min_length=1, max_length=128)]
    value: Annotated[str, Meta(max_length=256)]


Tags = Annotated[tuple[Tag, ...], Meta(max_length=50)]


class S3DataSource(Shape, frozen=True, kw_only=True):
    """A model's files: an archive, or a folder."""

    s3_uri: Location
    s3_data_type: Literal["S3Prefix", "S3Object"]
    compression_type: Literal["None", "Gzip"]


class ModelDataSource(Shape, frozen=True, kw_only=True):
    """Where a model's files are."""

    s3_data_source: S3DataSource | None = None


class Container(Shape, frozen=True, kw_only=True):
    """A model's files and its variables. Its image is not run: the archive's own functions are."""

    image: Annotated[str, Meta(max_length=255, pattern=r"^(?:[\S]+)\Z")] | None = None
    mode: Literal["SingleModel", "MultiModel"] | None = None
    model_data_url: Location | None = None
    model_data_source: ModelDataSource | None = None
    environment: dict[str, Annotated[str, Meta(max_length=1024)]] | None = None
    model_package_name: str | None = None


class CreateModel(Shape, frozen=True, kw_only=True):
    """A model."""

    model_name: Name
    primary_container: Container | None = None
    containers: Annotated[list[Container], Meta(max_length=15)] | None = None
    execution_role_arn: RoleArn | None = None
    tags: Tags = ()


class Serverless(Shape, frozen=True, kw_only=True):
    """What a variant may take: memory of a worker, workers at most, and workers that always run."""

    memory_mb: Annotated[int, Meta(ge=1024, le=6144)] = field(name="MemorySizeInMB")
    max_concurrency: Annotated[int, Meta(ge=1, le=200)]
    provisioned_concurrency: Annotated[int, Meta(ge=1, le=200)] | None = None


class ManagedScaling(Shape, frozen=True, kw_only=True):
    """How many instances a variant may have, where AWS scales them."""

    status: Literal["ENABLED", "DISABLED"] | None = None
    min_instance_count: Annotated[int, Meta(ge=0)] | None = None
    max_instance_count: Count | None = None


class Variant(Shape, frozen=True, kw_only=True):
    """A model that takes a share of an endpoint's traffic."""

    variant_name: Name
    model_name: Name | None = None
    initial_instance_count: Count | None = None
    instance_type: str | None = None
    initial_variant_weight: Weight | None = None
    serverless_config: Serverless | None = None
    managed_instance_scaling: ManagedScaling | None = None


class CreateEndpointConfig(Shape, frozen=True, kw_only=True):
    """Which models an endpoint serves, and with what."""

    endpoint_config_name: Name
    production_variants: Annotated[list[Variant], Meta(min_length=1, max_length=10)]
    shadow_production_variants: list[Variant] | None = None
    tags: Tags = ()


class CreateEndpoint(Shape, frozen=True, kw_only=True):
    """An endpoint; also what `UpdateEndpoint` sends."""

    endpoint_name: Name
    endpoint_config_name: Name
    tags: Tags = ()


class DesiredWeight(Shape, frozen=True, kw_only=True):
    """The share of one variant."""

    variant_name: Name
    desired_weight: Weight | None = None
    desired_instance_count: Annotated[int, Meta(ge=0)] | None = None


class UpdateWeights(Shape, frozen=True, kw_only=True):
    """New shares of an endpoint's variants."""

    endpoint_name: Name
    desired_weights_and_capacities: Annotated[list[DesiredWeight], Meta(min_length=1)]


class NamedModel(Shape, frozen=True, kw_only=True):
    """One model."""

    model_name: Name


class NamedConfig(Shape, frozen=True, kw_only=True):
    """One configuration."""

    endpoint_config_name: Name


class NamedEndpoint(Shape, frozen=True, kw_only=True):
    """One endpoint."""

    endpoint_name: Name


class Listed(Shape, frozen=True, kw_only=True):
    """A page of a list, and of what. Times are seconds since 1970."""

    sort_by: Literal["Name", "CreationTime", "Status"] = "CreationTime"
    sort_order: Literal["Ascending", "Descending"] = "Descending"
    next_token: Annotated[str, Meta(max_length=8192)] | None = None
    max_results: Annotated[int, Meta(ge=1, le=100)] = PAGE
    name_contains: Annotated[str, Meta(max_length=63, pattern=r"^(?:[a-zA-Z0-9-]+)\Z")] | None = None
    creation_time_before: float | None = None
    creation_time_after: float | None = None
    last_modified_time_before: float | None = None
    last_modified_time_after: float | None = None
    status_equals: str | None = None


class Tagged(Shape, frozen=True, kw_only=True):
    """Tags of one thing: to add, or to ask for."""

    resource_arn: Annotated[str, Meta(max_length=256)]
    tags: Tags = ()
    tag_keys: Annotated[tuple[str, ...], Meta(max_length=50)] = ()


def arn_of(place: Place, kind: Kind, name: str) -> str:
    """The ARN of something. AWS writes names there in lower case, since they are compared so."""
    return f"arn:aws:sagemaker:{place.region}:{place.account}:{kind}/{name.lower()}"


def invalid(message: str) -> Fault:
    """A request that cannot be done as it is."""
    return Fault("ValidationException", 400, message, extra={})


def missing(place: Place, kind: Kind, name: str) -> Fault:
    """There is none of this name."""
    return invalid(f'Could not find {TITLES[kind]} "{arn_of(place, kind, name)}".')


def taken(place: Place, kind: Kind, name: str) -> Fault:
    """There is one of this name."""
    return invalid(f'Cannot create already existing {TITLES[kind]} "{arn_of(place, kind, name)}".')


def in_progress(place: Place, name: str) -> Fault:
    """An endpoint that is being made or changed."""
    return invalid(f'Cannot update in-progress endpoint "{arn_of(place, Kind.ENDPOINT, name)}".')


def in_its_words(fault: Fault) -> Fault:
    """A fault as this service calls it."""
    kind = "ValidationException" if fault.kind in CALLERS else fault.kind
    return Fault(kind, 400 if fault.kind in CALLERS else fault.http_status, fault.message, extra={})


def kept_of(kind: Kind, sent: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a request that are told again."""
    return {name: sent[name] for name in KEPT[kind] if sent.get(name) is not None}
