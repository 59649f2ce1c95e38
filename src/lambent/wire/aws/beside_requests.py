"""What AWS's clients ask about functions beside their code: URLs, concurrency, events, tags, permissions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, field

from lambent.wire.aws.shapes import Cors, DestinationConfig, Shape, StatementId, Tags

AuthType = Literal["NONE", "AWS_IAM"]
Loops = Literal["Terminate", "Allow"]
RuntimeUpdates = Literal["Auto", "Manual", "FunctionUpdate"]
RuntimeVersionArn = Annotated[
    str,
    Meta(
        min_length=26,
        max_length=2048,
        pattern=r"^(?:((arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}::"
        r"runtime:.+)|(arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:"
        r"\d{12}:runtime/[A-Za-z0-9_.-]{1,128}/version/[A-Za-z0-9_.-]{1,128})))\Z",
    ),
]
InvokeMode = Literal["RESPONSE_STREAM", "BUFFERED"]
Retries = Annotated[int, Meta(ge=0, le=2)]
EventAge = Annotated[int, Meta(ge=60, le=21_600)]
ServiceArn = Annotated[
    str,
    Meta(
        max_length=10_000,
        pattern=r"^(?:arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:"
        r"((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*))\Z",
    ),
]


class CreateUrlRequest(Shape, frozen=True, kw_only=True):
    """CreateFunctionUrlConfig."""

    auth_type: AuthType
    cors: Cors | None = None
    invoke_mode: InvokeMode | None = None


class UpdateUrlRequest(Shape, frozen=True, kw_only=True):
    """UpdateFunctionUrlConfig: what is absent stays as it is."""

    auth_type: AuthType | None = None
    cors: Cors | None = None
    invoke_mode: InvokeMode | None = None


class UrlConfig(Shape, frozen=True, kw_only=True):
    """A function's URL. When it is new, nothing is said of its last change."""

    function_url: str
    function_arn: str
    auth_type: str
    creation_time: str
    invoke_mode: str | None = None
    last_modified_time: str | None = None
    cors: Cors | None = None


class ListUrlsResponse(Shape, frozen=True, kw_only=True):
    """ListFunctionUrlConfigs."""

    function_url_configs: Sequence[UrlConfig]
    next_marker: str | None = None


class PutConcurrencyRequest(Shape, frozen=True, kw_only=True):
    """PutFunctionConcurrency."""

    reserved_concurrent_executions: Annotated[int, Meta(ge=0)]


class PutProvisionedRequest(Shape, frozen=True, kw_only=True):
    """PutProvisionedConcurrencyConfig."""

    provisioned_concurrent_executions: Annotated[int, Meta(ge=1)]


class ProvisionedConfig(Shape, frozen=True, kw_only=True):
    """Workers that are kept; in lists with the ARN."""

    requested_provisioned_concurrent_executions: int
    available_provisioned_concurrent_executions: int
    allocated_provisioned_concurrent_executions: int
    status: str
    last_modified: str
    function_arn: str | None = None
    status_reason: str | None = None


class ListProvisionedResponse(Shape, frozen=True, kw_only=True):
    """ListProvisionedConcurrencyConfigs."""

    provisioned_concurrency_configs: Sequence[ProvisionedConfig]
    next_marker: str | None = None


class EventInvokeRequest(Shape, frozen=True, kw_only=True):
    """PutFunctionEventInvokeConfig and UpdateFunctionEventInvokeConfig."""

    maximum_retry_attempts: Retries | None = None
    maximum_event_age_in_seconds: EventAge | None = None
    destination_config: DestinationConfig | None = None


class EventInvokeConfig(Shape, frozen=True, kw_only=True):
    """How events are tried again. `last_modified` is in seconds."""

    last_modified: float
    function_arn: str
    destination_config: DestinationConfig
    maximum_retry_attempts: int | None = None
    maximum_event_age_in_seconds: int | None = None


class ListEventInvokeResponse(Shape, frozen=True, kw_only=True):
    """ListFunctionEventInvokeConfigs."""

    function_event_invoke_configs: Sequence[EventInvokeConfig]
    next_marker: str | None = None


class TagRequest(Shape, frozen=True, kw_only=True):
    """TagResource."""

    tags: Tags


class ListTagsResponse(Shape, frozen=True, kw_only=True):
    """ListTags."""

    tags: Tags


class AddPermissionRequest(Shape, frozen=True, kw_only=True):
    """AddPermission."""

    statement_id: StatementId
    action: Annotated[str, Meta(max_length=10_000, pattern=r"^(?:(lambda:[*]|lambda:[a-zA-Z]+|[*]))\Z")]
    principal: Annotated[str, Meta(max_length=2048, pattern=r"^(?:[^\s]+)\Z")]
    source_arn: ServiceArn | None = None
    function_url_auth_type: AuthType | None = None
    invoked_via_function_url: bool | None = None
    source_account: Annotated[str, Meta(max_length=12, pattern=r"^(?:\d{12})\Z")] | None = None
    event_source_token: Annotated[str, Meta(max_length=256, pattern=r"^(?:[a-zA-Z0-9._\-]+)\Z")] | None = None
    revision_id: str | None = None
    principal_org_id: (
        Annotated[str, Meta(min_length=12, max_length=34, pattern=r"^(?:o-[a-z0-9]{10,32})\Z")] | None
    ) = field(default=None, name="PrincipalOrgID")


class StatementResponse(Shape, frozen=True, kw_only=True):
    """AddPermission and AddLayerVersionPermission; a function's has no revision."""

    statement: str
    revision_id: str | None = None


class PolicyResponse(Shape, frozen=True, kw_only=True):
    """GetPolicy and GetLayerVersionPolicy."""

    policy: str
    revision_id: str


class RecursionConfig(Shape, frozen=True, kw_only=True):
    """GetFunctionRecursionConfig and PutFunctionRecursionConfig."""

    recursive_loop: Loops


class RuntimeManagementRequest(Shape, frozen=True, kw_only=True):
    """PutRuntimeManagementConfig."""

    update_runtime_on: RuntimeUpdates
    runtime_version_arn: RuntimeVersionArn | None = None


class RuntimeManagement(Shape, frozen=True, kw_only=True):
    """GetRuntimeManagementConfig and PutRuntimeManagementConfig."""

    update_runtime_on: RuntimeUpdates
    function_arn: str
    runtime_version_arn: str | None = None


class AccountLimit(Shape, frozen=True, kw_only=True):
    """What an account may have."""

    total_code_size: int
    code_size_unzipped: int
    code_size_zipped: int
    concurrent_executions: int
    unreserved_concurrent_executions: int


class AccountUsage(Shape, frozen=True, kw_only=True):
    """What it has."""

    total_code_size: int
    function_count: int


class AccountSettings(Shape, frozen=True, kw_only=True):
    """GetAccountSettings."""

    account_limit: AccountLimit
    account_usage: AccountUsage
