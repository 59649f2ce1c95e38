"""Values that many of AWS Lambda's operations take and give back, with the bounds that its model sets.

An optional member that is absent, or null, is None, and is left out of what is sent.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Arn = Annotated[str, Meta(max_length=10_000, pattern=r"^(?:(arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|())\Z")]
RoleArn = Annotated[
    str,
    Meta(
        max_length=10_000,
        pattern=r"^(?:arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+)\Z",
    ),
]
Description = Annotated[str, Meta(max_length=256)]
Handler = Annotated[str, Meta(max_length=128, pattern=r"^(?:[^\s]+)\Z")]
TagKey = Annotated[str, Meta(min_length=1, max_length=128)]
TagValue = Annotated[str, Meta(max_length=256)]
Tags = dict[TagKey, TagValue]
VariableName = Annotated[str, Meta(pattern=r"^(?:[a-zA-Z]([a-zA-Z0-9_])+)\Z")]
RuntimeName = Literal[
    "nodejs",
    "nodejs4.3",
    "nodejs6.10",
    "nodejs8.10",
    "nodejs10.x",
    "nodejs12.x",
    "nodejs14.x",
    "nodejs16.x",
    "nodejs18.x",
    "nodejs20.x",
    "nodejs22.x",
    "nodejs24.x",
    "java8",
    "java8.al2",
    "java11",
    "java17",
    "java21",
    "java25",
    "python2.7",
    "python3.6",
    "python3.7",
    "python3.8",
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "dotnetcore1.0",
    "dotnetcore2.0",
    "dotnetcore2.1",
    "dotnetcore3.1",
    "dotnet6",
    "dotnet8",
    "dotnet10",
    "nodejs4.3-edge",
    "go1.x",
    "ruby2.5",
    "ruby2.7",
    "ruby3.2",
    "ruby3.3",
    "ruby3.4",
    "ruby4.0",
    "provided",
    "provided.al2",
    "provided.al2023",
    "nodejs26.x",
    "python3.15",
    "java8.al2023",
    "java11.al2023",
    "java17.al2023",
    "custom",
]
Architecture = Literal["x86_64", "arm64"]
Architectures = Annotated[list[Architecture], Meta(min_length=1, max_length=1)]
LayerArn = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2048,
        pattern=r"^(?:(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:"
        r"\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+))\Z",
    ),
]
StatementId = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^(?:([a-zA-Z0-9-_]+))\Z")]
VersionName = Annotated[
    str, Meta(min_length=1, max_length=1024, pattern=r"^(?:(\$LATEST(\.PUBLISHED)?|[0-9]+))\Z")
]


class Shape(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """How all of these are written: members in Pascal case, those without a value left out."""


class VpcConfig(Shape, frozen=True, kw_only=True):
    """A network of AWS's. There is none here."""

    subnet_ids: (
        Annotated[
            list[Annotated[str, Meta(max_length=1024, pattern=r"^(?:subnet-[0-9a-z]*)\Z")]],
            Meta(max_length=16),
        ]
        | None
    ) = None
    security_group_ids: (
        Annotated[
            list[Annotated[str, Meta(max_length=1024, pattern=r"^(?:sg-[0-9a-zA-Z]*)\Z")]],
            Meta(max_length=5),
        ]
        | None
    ) = None
    ipv6_allowed_for_dual_stack: bool | None = None


class VpcConfigResponse(VpcConfig, frozen=True, kw_only=True):
    """The same as it is given back. `vpc_id` is empty where no subnets were said."""

    vpc_id: str


class DeadLetterConfig(Shape, frozen=True, kw_only=True):
    """Where events go that failed for good: a queue. They are dead letters of the deployment as well."""

    target_arn: Arn | None = None


class Environment(Shape, frozen=True, kw_only=True):
    """Environment variables."""

    variables: dict[VariableName, str] | None = None


class TracingConfig(Shape, frozen=True, kw_only=True):
    """Whether AWS's own tracer follows calls: not here."""

    mode: Literal["Active", "PassThrough"] | None = None


class FileSystemConfig(Shape, frozen=True, kw_only=True):
    """A network file system of AWS's."""

    arn: Annotated[str, Meta(max_length=256)]
    local_mount_path: Annotated[str, Meta(max_length=160, pattern=r"^(?:/mnt/[a-zA-Z0-9-_.]+)\Z")]


class ImageConfig(Shape, frozen=True, kw_only=True):
    """What overrides a container image's own."""

    entry_point: Annotated[list[str], Meta(max_length=1500)] | None = None
    command: Annotated[list[str], Meta(max_length=1500)] | None = None
    working_directory: Annotated[str, Meta(max_length=1000)] | None = None


class EphemeralStorage(Shape, frozen=True, kw_only=True):
    """MiB of private temporary files."""

    size: Annotated[int, Meta(ge=512, le=32_768)]


class SnapStart(Shape, frozen=True, kw_only=True):
    """AWS's snapshots, which its clients switch on and off; ours are always there."""

    apply_on: Literal["PublishedVersions", "None"] | None = None


class LoggingConfig(Shape, frozen=True, kw_only=True):
    """How AWS's own log is written."""

    log_format: Literal["JSON", "Text"] | None = None
    application_log_level: Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"] | None = None
    system_log_level: Literal["DEBUG", "INFO", "WARN"] | None = None
    log_group: (
        Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^(?:[\.\-_/#A-Za-z0-9]+)\Z")] | None
    ) = None


class Cors(Shape, frozen=True, kw_only=True):
    """What a function's URL answers to browsers of other origins."""

    allow_credentials: bool | None = None
    allow_headers: Annotated[list[Annotated[str, Meta(max_length=1024)]], Meta(max_length=100)] | None = None
    allow_methods: Annotated[list[Annotated[str, Meta(max_length=6)]], Meta(max_length=6)] | None = None
    allow_origins: (
        Annotated[list[Annotated[str, Meta(min_length=1, max_length=253)]], Meta(max_length=100)] | None
    ) = None
    expose_headers: Annotated[list[Annotated[str, Meta(max_length=1024)]], Meta(max_length=100)] | None = None
    max_age: Annotated[int, Meta(ge=0, le=86_400)] | None = None


class Destination(Shape, frozen=True, kw_only=True):
    """Where a record of an asynchronous invocation's end goes."""

    destination: (
        Annotated[
            str,
            Meta(
                max_length=350,
                pattern=r"^(?:$|kafka://([^.]([a-zA-Z0-9\-_.]{0,248}))|arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:"
                r"((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*))\Z",
            ),
        ]
        | None
    ) = None


class DestinationConfig(Shape, frozen=True, kw_only=True):
    """Where that goes, by how it ended."""

    on_success: Destination | None = None
    on_failure: Destination | None = None


class CodeLocation(Shape, frozen=True, kw_only=True):
    """Where a function's code can be had."""

    repository_type: str  # without a default: what equals one is left out
    location: str | None = None
