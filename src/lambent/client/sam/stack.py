"""What a SAM template describes, in CloudFormation's words where it has them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

MEMORY_MIB_DEFAULT = 128
TIMEOUT_S_DEFAULT = 3


class Environment(msgspec.Struct, frozen=True, rename="pascal"):
    """Of a function."""

    variables: dict[str, str] = {}


class EphemeralStorage(msgspec.Struct, frozen=True, rename="pascal"):
    """`size` in MiB."""

    size: int = 512


class Provisioned(msgspec.Struct, frozen=True, rename="pascal"):
    """Workers that are kept."""

    provisioned_concurrent_executions: int


class Url(msgspec.Struct, frozen=True, rename="pascal"):
    """A function's own URL."""

    auth_type: str = "AWS_IAM"
    invoke_mode: str = "BUFFERED"
    cors: dict[str, Any] = {}


class DeadLetters(msgspec.Struct, frozen=True, rename="pascal"):
    """Where events go that failed for good."""

    target_arn: str
    type: str = "SQS"


class InvokeDestination(msgspec.Struct, frozen=True, rename="pascal"):
    """Who is told of an end."""

    type: str
    destination: str = ""


class InvokeDestinations(msgspec.Struct, frozen=True, rename="pascal"):
    """Who is told of which end."""

    on_success: InvokeDestination | None = None
    on_failure: InvokeDestination | None = None


class EventInvoke(msgspec.Struct, frozen=True, rename="pascal"):
    """How asynchronous invocations are tried."""

    maximum_retry_attempts: int | None = None
    maximum_event_age_in_seconds: int | None = None
    destination_config: InvokeDestinations | None = None


class Event(msgspec.Struct, frozen=True, rename="pascal"):
    """What invokes a function. Its properties depend on its type."""

    type: str
    properties: dict[str, Any] = {}


class Properties(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Of an `AWS::Serverless::Function`: those that mean something here."""

    function_name: str = ""
    handler: str = ""
    runtime: str = ""
    code_uri: str = ""
    inline_code: str = ""
    description: str = ""
    memory_size: Annotated[int, msgspec.Meta(ge=1)] = MEMORY_MIB_DEFAULT
    timeout: Annotated[int, msgspec.Meta(ge=1)] = TIMEOUT_S_DEFAULT
    environment: Environment = Environment()
    ephemeral_storage: EphemeralStorage = EphemeralStorage()
    layers: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    reserved_concurrent_executions: int | None = None
    provisioned_concurrency_config: Provisioned | None = None
    auto_publish_alias: str = ""
    function_url_config: Url | None = None
    dead_letter_queue: DeadLetters | None = None
    event_invoke_config: EventInvoke | None = None
    events: dict[str, Event] = {}
    package_type: str = "Zip"


class LayerProperties(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Of an `AWS::Serverless::LayerVersion`."""

    layer_name: str = ""
    content_uri: str
    description: str = ""
    compatible_runtimes: tuple[str, ...] = ()


class Function(msgspec.Struct, frozen=True):
    """A function and the folder or zip file of its code; `None` where that stands in the template."""

    logical_id: str
    properties: Properties
    code: Path | None

    @property
    def name(self) -> str:
        """What it is called on the server."""
        return self.properties.function_name or self.logical_id


class Layer(msgspec.Struct, frozen=True):
    """A layer and the folder or zip file of its content."""

    logical_id: str
    properties: LayerProperties
    content: Path

    @property
    def name(self) -> str:
        """What it is called on the server."""
        return self.properties.layer_name or self.logical_id


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue, its attributes as texts."""

    name: str
    attributes: dict[str, str]
    tags: dict[str, str]


class Ignored(msgspec.Struct, frozen=True):
    """What is left out of a template, such as `Hello.Policies`, and why."""

    what: str
    why: str


class Stack(msgspec.Struct, frozen=True):
    """All of a template. A function names a layer of it as `layer:LOGICAL_ID`."""

    functions: tuple[Function, ...]
    layers: tuple[Layer, ...]
    ignored: tuple[Ignored, ...]
    queues: tuple[Queue, ...] = ()
