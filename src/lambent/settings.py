"""What the operator may set, read once from flags and the environment into one frozen value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from lambent.core.errors import InvalidSpec
from lambent.core.policies.base import PolicyName
from lambent.core.settings import parse_size
from lambent.core.spec import MIB
from lambent.wire.sigv4 import AwsAuth

PREFIX: Final = "LAMBENT_"
GRPC_NEXT: Final = "next"  # the port behind that of HTTP; a free one where that is free to choose, too
GRPC_OFF: Final = "off"
SERVER_FILE: Final = "server.json"  # in the state directory, while there is a server

BODIES_SHARE: Final = 1 / 16  # of the machine, and never less than four bodies of the largest size
BUDGET_SHARE: Final = 0.6  # of the machine, where no budget is set: the rest is for the page cache and others


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The server's settings, in seconds and bytes.

    `memory_budget_bytes` is what templates and workers may take together, 0 for a share of this machine's
    memory (`BUDGET_SHARE`). `keep_policy` says what stays ready within it. `bodies_bytes_max` is what the
    bodies of all requests may take in the server's own memory, 0 for a share of this machine's
    (`BODIES_SHARE`); `runs_running_max` how many runs of jobs go on at once, 0 for twice as many as there are
    cores, and four at least; `project_queue_depth_max` how many invocations of a project may wait. A run is
    kept for `run_keep_s` after its end, 0 for ever, and of the files that it saves `run_saved_bytes_max`.

    `dataset_bytes_max` bounds a version of a dataset, `transforms_bytes_max` all data that jobs have
    transformed together.

    `aws_auth` says whether AWS's clients must prove who they are. Of their payloads, `aws_request_bytes_max`
    bounds what is sent, `aws_response_bytes_max` what is answered, `aws_event_bytes_max` what is sent for
    later, `aws_stream_bytes_max` what streams; unless told these are AWS's own limits.

    `otlp_endpoint` is where spans are sent, as the base of an OTLP/HTTP receiver's URLs; empty for what the
    variables of OpenTelemetry say.
    """

    state_dir: Path
    host: str = "127.0.0.1"
    port: int = 8700
    grpc_port: str = GRPC_NEXT
    ephemeral: bool = False
    memory_budget_bytes: int = 0
    keep_policy: PolicyName = PolicyName.ECONOMIC
    body_bytes_max: int = 32 * MIB
    bodies_bytes_max: int = 0
    project_queue_depth_max: int = 5000
    artifact_bytes_max: int = 4096 * MIB
    dataset_bytes_max: int = 65536 * MIB
    transforms_bytes_max: int = 20480 * MIB
    load_timeout_s: float = 300.0
    training_hold_s: float = 900.0
    drain_s: float = 30.0
    scaling_tick_s: float = 0.25
    async_running_max: int = 16
    runs_running_max: int = 0
    run_keep_s: float = 30 * 86_400.0
    run_saved_bytes_max: int = 1024 * MIB
    aws_auth: AwsAuth = AwsAuth.VERIFY
    aws_request_bytes_max: int = 6_291_456
    aws_response_bytes_max: int = 6_291_556
    aws_event_bytes_max: int = 1_048_576
    aws_stream_bytes_max: int = 200 * MIB
    log_level: str = "info"
    otlp_endpoint: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def bodies_bytes(self, machine_bytes: int) -> int:
        """The room for the bodies of all requests, on a machine with so much memory."""
        return self.bodies_bytes_max or max(int(BODIES_SHARE * machine_bytes), 4 * self.body_bytes_max)

    @property
    def tls(self) -> tuple[Path, Path] | None:
        """The certificate chain and its key, both as PEM, or None for plain HTTP."""
        return (self.tls_cert, self.tls_key) if self.tls_cert and self.tls_key else None


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """`LAMBENT_STATE_DIR`, else `lambent` under the user's data directory as XDG defines it."""
    if told := environ.get(PREFIX + "STATE_DIR"):
        return Path(told)
    data = environ.get("XDG_DATA_HOME") or Path(environ.get("HOME") or Path.home()) / ".local" / "share"
    return Path(data) / "lambent"


def from_environ(environ: Mapping[str, str] = os.environ, **flags: object) -> Settings:
    """Settings from `LAMBENT_*` variables, overridden by the flags that are not None.

    Raises `InvalidSpec` for a variable or flag that does not convert, naming it.
    """
    raw: dict[str, object] = {"state_dir": str(default_state_dir(environ))}
    for field in msgspec.structs.fields(Settings):
        if (text := environ.get(PREFIX + field.name.upper())) is not None:
            raw[field.name] = text
    raw.update((name, value) for name, value in flags.items() if value is not None)
    for name, value in raw.items():
        if name.endswith(("_bytes", "_bytes_max")):
            raw[name] = parse_size(value if isinstance(value, int) else str(value))
    try:
        return msgspec.convert(raw, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise InvalidSpec(f"a setting is wrong: {error}") from error


def _path(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value)).expanduser().absolute()
    raise NotImplementedError(kind)
