"""Event source mappings: which queues and streams a function is called for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, field

from lambent.wire.aws.beside_requests import ServiceArn
from lambent.wire.aws.shapes import Arn, DestinationConfig, Shape, Tags

BatchSize = Annotated[int, Meta(ge=1, le=10_000)]
Window = Annotated[int, Meta(ge=0, le=300)]
Factor = Annotated[int, Meta(ge=1, le=10)]
RecordAge = Annotated[int, Meta(ge=-1, le=604_800)]
RecordRetries = Annotated[int, Meta(ge=-1, le=10_000)]
Tumbling = Annotated[int, Meta(ge=0, le=900)]
ResponseTypes = Annotated[list[Literal["ReportBatchItemFailures"]], Meta(max_length=1)]


class Filter(Shape, frozen=True, kw_only=True):
    """Which events a function is called for, as a JSON text."""

    pattern: Annotated[str, Meta(max_length=4096)] | None = None


class FilterCriteria(Shape, frozen=True, kw_only=True):
    """All of them."""

    filters: list[Filter] | None = None


class ScalingConfig(Shape, frozen=True, kw_only=True):
    """How many calls at once an SQS queue may make."""

    maximum_concurrency: Annotated[int, Meta(ge=2, le=1000)] | None = None


class MappingSettings(Shape, frozen=True, kw_only=True):
    """How a function is called for what a source has."""

    enabled: bool | None = None
    batch_size: BatchSize | None = None
    filter_criteria: FilterCriteria | None = None
    kms_key_arn: Arn | None = field(default=None, name="KMSKeyArn")
    scaling_config: ScalingConfig | None = None
    maximum_batching_window_in_seconds: Window | None = None
    parallelization_factor: Factor | None = None
    destination_config: DestinationConfig | None = None
    maximum_record_age_in_seconds: RecordAge | None = None
    bisect_batch_on_function_error: bool | None = None
    maximum_retry_attempts: RecordRetries | None = None
    tumbling_window_in_seconds: Tumbling | None = None
    function_response_types: ResponseTypes | None = None


class UpdateMappingRequest(MappingSettings, frozen=True, kw_only=True):
    """UpdateEventSourceMapping: what is absent stays as it is."""

    function_name: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


class CreateMappingRequest(MappingSettings, frozen=True, kw_only=True):
    """CreateEventSourceMapping."""

    function_name: Annotated[str, Meta(min_length=1, max_length=256)]
    event_source_arn: ServiceArn | None = None
    starting_position: Literal["LATEST", "AT_TIMESTAMP", "TRIM_HORIZON"] | None = None
    starting_position_timestamp: float | None = None
    tags: Tags | None = None


class Mapping(Shape, frozen=True, kw_only=True):
    """A mapping as it is given back. `last_modified` is in seconds."""

    uuid: str = field(name="UUID")
    function_arn: str
    event_source_mapping_arn: str
    last_modified: float
    state: str
    state_transition_reason: str
    last_processing_result: str | None = None
    event_source_arn: str | None = None
    batch_size: int | None = None
    filter_criteria: FilterCriteria | None = None
    kms_key_arn: str | None = field(default=None, name="KMSKeyArn")
    scaling_config: ScalingConfig | None = None
    maximum_batching_window_in_seconds: int | None = None
    parallelization_factor: int | None = None
    starting_position: str | None = None
    starting_position_timestamp: float | None = None
    destination_config: DestinationConfig | None = None
    maximum_record_age_in_seconds: int | None = None
    bisect_batch_on_function_error: bool | None = None
    maximum_retry_attempts: int | None = None
    tumbling_window_in_seconds: int | None = None
    function_response_types: Sequence[str] | None = None


class ListMappingsResponse(Shape, frozen=True, kw_only=True):
    """ListEventSourceMappings."""

    event_source_mappings: Sequence[Mapping]
    next_marker: str | None = None
