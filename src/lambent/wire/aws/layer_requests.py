"""Layers: code that several functions stand on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from lambent.wire.aws.function_requests import S3Bucket, S3Key
from lambent.wire.aws.shapes import Description, Shape, StatementId


class LayerContent(Shape, frozen=True, kw_only=True):
    """What is in a layer: a zip, or where one lies."""

    zip_file: bytes | None = None
    s3_bucket: S3Bucket | None = None
    s3_key: S3Key | None = None
    s3_object_version: S3Key | None = None


class PublishLayerRequest(Shape, frozen=True, kw_only=True):
    """PublishLayerVersion."""

    content: LayerContent
    description: Description | None = None
    compatible_architectures: Annotated[list[str], Meta(max_length=2)] | None = None
    compatible_runtimes: Annotated[list[str], Meta(max_length=15)] | None = None
    license_info: Annotated[str, Meta(max_length=512)] | None = None


class LayerContentOutput(Shape, frozen=True, kw_only=True):
    """What is in a layer, as it is given back."""

    code_sha256: str
    code_size: int
    location: str | None = None


class LayerVersion(Shape, frozen=True, kw_only=True):
    """A version of a layer. In lists without its content and the layer's own ARN."""

    layer_version_arn: str
    version: int
    description: str
    created_date: str
    layer_arn: str | None = None
    content: LayerContentOutput | None = None
    compatible_architectures: Sequence[str] | None = None
    compatible_runtimes: Sequence[str] | None = None
    license_info: str | None = None


class ListLayerVersionsResponse(Shape, frozen=True, kw_only=True):
    """ListLayerVersions."""

    layer_versions: Sequence[LayerVersion]
    next_marker: str | None = None


class LayersItem(Shape, frozen=True, kw_only=True):
    """A layer and the newest of its versions that fits."""

    layer_name: str
    layer_arn: str
    latest_matching_version: LayerVersion


class ListLayersResponse(Shape, frozen=True, kw_only=True):
    """ListLayers."""

    layers: Sequence[LayersItem]
    next_marker: str | None = None


class LayerPermissionRequest(Shape, frozen=True, kw_only=True):
    """AddLayerVersionPermission."""

    statement_id: StatementId
    action: Annotated[str, Meta(max_length=22, pattern=r"^(?:lambda:GetLayerVersion)\Z")]
    principal: Annotated[str, Meta(pattern=r"^(?:\d{12}|\*|arn:(aws[a-zA-Z-]*):iam::\d{12}:root)\Z")]
    organization_id: Annotated[str, Meta(max_length=34, pattern=r"^(?:o-[a-z0-9]{10,32})\Z")] | None = None
