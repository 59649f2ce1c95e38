"""A function as AWS's clients see it."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

import msgspec

from lambent.core.spec import MIB, DeploymentSpec
from lambent.wire.aws.names import LATEST, Place


class TracingConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """Whether calls are traced by AWS's own tracer: not here."""

    mode: str = "PassThrough"


class EphemeralStorage(msgspec.Struct, frozen=True, rename="pascal"):
    """MiB of private temporary files; AWS's default."""

    size: int = 512


class SnapStart(msgspec.Struct, frozen=True, rename="pascal"):
    """AWS's snapshots, which its clients switch on and off; ours are always there."""

    apply_on: str = "None"
    optimization_status: str = "Off"


class FunctionConfiguration(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A function as AWS describes it, with every member that AWS always sends."""

    function_name: str
    function_arn: str
    runtime: str
    role: str
    handler: str
    description: str
    timeout: int
    memory_size: int
    last_modified: str
    code_sha256: str
    version: str
    environment: dict[str, dict[str, str]]
    revision_id: str
    logging_config: dict[str, str]
    code_size: int = 0
    tracing_config: TracingConfig = TracingConfig()
    state: str = "Active"
    last_update_status: str = "Successful"
    package_type: str = "Zip"
    architectures: tuple[str, ...] = ("x86_64",)
    ephemeral_storage: EphemeralStorage = EphemeralStorage()
    snap_start: SnapStart = SnapStart()


def configuration(
    spec: DeploymentSpec, *, place: Place, revision: str, version: str, modified_unix_ms: int, runtime: str
) -> FunctionConfiguration:
    """What AWS's clients see of a deployment.

    `CodeSha256` stands for the whole revision: code, model and settings.
    """
    modified = datetime.fromtimestamp(modified_unix_ms / 1000, UTC)
    return FunctionConfiguration(
        function_name=spec.name,
        function_arn=place.function_arn(spec.name, "" if version == LATEST else version),
        runtime=runtime,
        role=f"arn:aws:iam::{place.account}:role/lambent",
        handler=spec.entrypoint.replace(":", "."),
        description=spec.description,
        timeout=max(1, round(spec.timeout_s)),
        memory_size=spec.memory_bytes // MIB,
        last_modified=modified.isoformat(timespec="milliseconds").replace("+00:00", "+0000"),
        code_sha256=base64.b64encode(hashlib.sha256(revision.encode()).digest()).decode(),
        version=version,
        environment={"Variables": dict(spec.env)},
        revision_id=revision,
        logging_config={"LogFormat": "Text", "LogGroup": f"/aws/lambda/{spec.name}"},
    )
