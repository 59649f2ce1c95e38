"""What is kept for AWS's API beside deployments, as it lies in the store."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from lambent.wire.aws.beside_requests import Loops, RuntimeUpdates
from lambent.wire.aws.function_requests import RoutingConfig
from lambent.wire.aws.functions import Settings
from lambent.wire.aws.mapping_requests import CreateMappingRequest
from lambent.wire.aws.shapes import Cors, DestinationConfig


class Kind(StrEnum):
    """The kinds of records. All but the last two go with the function whose name they have."""

    FUNCTION = "aws-function"
    VERSION = "aws-version"
    ALIAS = "aws-alias"
    URL = "aws-url"
    EVENT_INVOKE = "aws-event-invoke"
    PROVISIONED = "aws-provisioned"
    POLICY = "aws-policy"
    LAYER = "aws-layer"
    MAPPING = "aws-mapping"


HELD: Final = ":mappings"  # the name under which changes of a project's mappings wait for one another
OF_FUNCTIONS: Final = tuple(kind for kind in Kind if kind not in (Kind.LAYER, Kind.MAPPING))


class CodeBook(msgspec.Struct, frozen=True, kw_only=True):
    """An uploaded zip: SHA-256 in base64 and size as it came, and the artifact that was made of it.

    `archive` is the artifact that holds the zip itself, empty where there was none.
    """

    sha256: str
    size_bytes: int
    digest: str
    archive: str = ""


class LayerUse(msgspec.Struct, frozen=True, kw_only=True):
    """A layer's version that a function stands on, and its artifact."""

    arn: str
    code_size: int
    digest: str


class FunctionBook(msgspec.Struct, frozen=True, kw_only=True):
    """Of a function, or of a version as it was published.

    `published` tells what the newest version was made of, `versions_made` how many there have been.
    """

    role: str
    runtime: str
    handler: str
    code: CodeBook
    revision_id: str
    modified_unix_ms: int
    settings: Settings = Settings()
    layers: tuple[LayerUse, ...] = ()
    tags: dict[str, str] = {}
    reserved: int | None = None
    versions_made: int = 0
    published: str = ""
    recursive_loop: Loops = "Terminate"
    runtime_updates: RuntimeUpdates = "Auto"
    runtime_version: str = ""


class VersionBook(msgspec.Struct, frozen=True, kw_only=True):
    """A published version: the function as it was, and our revision that it is."""

    function: FunctionBook
    revision: str


class AliasBook(msgspec.Struct, frozen=True, kw_only=True):
    """An alias. Which revision answers is kept with our own alias of that name."""

    function_version: str
    description: str
    revision_id: str
    routing: RoutingConfig = RoutingConfig()


class UrlBook(msgspec.Struct, frozen=True, kw_only=True):
    """A function's URL. Its key is the alias, empty for what is active."""

    url_id: str
    auth_type: str
    invoke_mode: str
    created_unix_ms: int
    modified_unix_ms: int
    cors: Cors | None = None


class EventInvokeBook(msgspec.Struct, frozen=True, kw_only=True):
    """How events are tried again, and where records of their end would go."""

    modified_unix_ms: int
    retries: int | None = None
    age_max_s: int | None = None
    destinations: DestinationConfig = DestinationConfig()


class ProvisionedBook(msgspec.Struct, frozen=True, kw_only=True):
    """Workers that are kept for a version or an alias."""

    requested: int
    modified_unix_ms: int


class PolicyBook(msgspec.Struct, frozen=True, kw_only=True):
    """Statements of a resource policy, as they were made."""

    revision_id: str
    statements: tuple[dict[str, Any], ...] = ()


class MappingBook(msgspec.Struct, frozen=True, kw_only=True):
    """An event source mapping, as it was asked for and changed. Its tags are the request's."""

    request: CreateMappingRequest
    modified_unix_ms: int


class LayerBook(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a layer. `latest` is only kept with the layer itself, under the empty key."""

    code: CodeBook | None = None
    description: str = ""
    license_info: str | None = None
    runtimes: tuple[str, ...] | None = None
    architectures: tuple[str, ...] | None = None
    created_unix_ms: int = 0
    latest: int = 0
    policy: PolicyBook | None = None
