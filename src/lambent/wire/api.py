"""Shapes of the control API: what travels under /api/v1, for the server and the client alike."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from lambent.core.spec import DeploymentSpec, Interface, Keep, Kind, Setting, Temperature
from lambent.core.tensors import UNKNOWN, Signature
from lambent.wire.aliases import AliasView, Canary
from lambent.wire.timers import TimerView


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as RFC 9457 defines it; `code` is ours and stable."""

    title: str
    status: int
    code: str
    detail: str = ""
    type: str = "about:blank"
    instance: str = ""
    retryable: bool = False
    error_type: str = ""
    stack_trace: tuple[str, ...] = ()


class ServerFile(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running server is and what opens it, as `server.json` in its state directory says it.

    `grpc_url` is empty while there is no such door.
    """

    url: str
    grpc_url: str = ""
    pid: int = 0
    api_key: str = ""
    access_key_id: str = ""
    secret_access_key: str = ""


class ArtifactReply(msgspec.Struct, frozen=True):
    """A stored artifact."""

    digest: str
    size_bytes: int
    files: int


class DeployRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Deploy what an uploaded artifact holds.

    `target` is a path inside the artifact: `app.py`, `app.py:handler`, or a model file such as `model.onnx`;
    or `.` for all of it, where it is laid out as SageMaker's `model.tar.gz`; or `bootstrap`, an executable,
    with what it is told of its handler behind a colon.
    `name` overrides the name where the target declares one thing only. `settings` apply to every deployment
    declared; `per_deployment` to one by its name. With a `canary`, what changes is tried beside the rest.
    With `as_job` a function that no decorator says anything of is a job.
    """

    artifact: str
    target: str
    name: str = ""
    settings: dict[str, Setting] = {}
    per_deployment: dict[str, dict[str, Setting]] = {}
    canary: Canary | None = None
    as_job: bool = False


class Declaration(msgspec.Struct, frozen=True):
    """One thing that a file of user code declares, as the describe runtime reports it."""

    name: str
    kind: Kind
    entrypoint: str
    settings: dict[str, Setting] = {}
    train: str = ""
    app: str = ""
    interface: Interface = Interface.EVENT
    signature: Signature = UNKNOWN
    skills: tuple[str, ...] = ()
    schema: str = ""  # of its event, as JSON; empty where nothing is known


class RevisionView(msgspec.Struct, frozen=True, kw_only=True):
    """A revision as the operator sees it."""

    revision: str
    number: int
    created_unix_ms: int
    active: bool
    spec: DeploymentSpec
    code_digest: str
    model_digest: str
    model_number: int | None


class WakeView(msgspec.Struct, frozen=True, kw_only=True):
    """One wake and what it was made of.

    `temperature` is the one that it came from, `number` the revision's. `total_ms` goes from the decision to
    start a worker until it took calls; `parts_ms` says what that was: exec, import, fork, load, init,
    practice, probe, restore, other. Two more parts are told of the worker's first call, once it has run, and
    are not in the total: queue, the milliseconds that it waited beside the wake, and first_run, those in user
    code.
    """

    at_unix_ms: int
    temperature: Temperature
    total_ms: float
    parts_ms: dict[str, float]
    number: int = 0


class WakeBucket(msgspec.Struct, frozen=True):
    """How many wakes took `from_ms` or more and less than `to_ms`, which is null where there is no bound."""

    from_ms: float
    to_ms: float | None
    count: int


class WakeSpread(msgspec.Struct, frozen=True, kw_only=True):
    """How long wakes took in all. `p50_ms` and `p99_ms` are exact to 4.5 %."""

    count: int
    min_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float


class WakeStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The wakes of a deployment, over all its revisions, since the server started.

    `by_temperature` names the temperature that they came from. `buckets` count all of them by doublings of
    their total, without a gap from the first that holds any to the last.
    """

    total: WakeSpread
    by_temperature: dict[str, WakeSpread]
    buckets: tuple[WakeBucket, ...]


class DeploymentView(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment as the operator sees it. Memory is in bytes, summed over its template and its workers.

    `private_bytes` is what each of these processes maps alone, `shared_bytes` their part of the pages that
    several processes map, and `pss_bytes` both; over all processes these add up to what the machine gives.
    `needs_model`: it has no model yet; the first invocation starts its training job. `keep` is the pin that
    its owner set. `unsafe` says why its template cannot be primed, if so; `overruled` what speaks against the
    priming that its owner allowed nevertheless. `last_error` is the last failed load, if it still fails.
    `last_wake` is the deployment's, whichever revision it was.
    """

    name: str
    kind: Kind
    revision: str
    number: int
    url: str
    temperature: Temperature
    workers: int
    queued: int
    pss_bytes: int
    private_bytes: int
    created_unix_ms: int
    shared_bytes: int = 0
    keep: Keep = Keep.AUTO
    needs_model: bool = False
    model_number: int | None = None
    unsafe: tuple[str, ...] = ()
    overruled: tuple[str, ...] = ()
    last_error: str = ""
    last_wake: WakeView | None = None


class DeploymentDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment with its revisions, newest first, its last wakes, oldest first, and all of them counted.

    `kept_because` says why it has its temperature, or will have another; empty where nobody has looked yet.
    `keep_policy` is the server's, under which that is so.
    """

    deployment: DeploymentView
    revisions: tuple[RevisionView, ...]
    wakes: tuple[WakeView, ...]
    kept_because: str = ""
    keep_policy: str = ""
    wake_statistics: WakeStatistics | None = None
    aliases: tuple[AliasView, ...] = ()
    timers: tuple[TimerView, ...] = ()


class DeployReply(msgspec.Struct, frozen=True):
    """What a deploy made. `changed` lists the names that got a new revision, `on_trial` where it is tried."""

    deployments: tuple[DeploymentView, ...]
    changed: tuple[str, ...]
    on_trial: tuple[str, ...] = ()


class RollbackRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Go back to the revision before the active one, or to the one named by number."""

    to: int | None = None


class ChillRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Let a deployment cool down to `warm` or `cold`."""

    to: Temperature = Temperature.WARM


class ModelView(msgspec.Struct, frozen=True, kw_only=True):
    """A registered model. `refused` says why its gate did not let it serve, empty where it did."""

    name: str
    number: int
    digest: str
    metrics: dict[str, float]
    run: str
    created_unix_ms: int
    size_bytes: int
    refused: str = ""


class UsageLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one deployment used in a period. `cost_usd` maps a price plan's name to dollars."""

    deployment: str
    invocations: int
    failed: int
    cold_starts: int
    billed_ms: int
    gb_s: float
    cpu_s: float
    cost_usd: dict[str, float]


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    """A project's usage, a line per deployment and the total.

    `torn_records` counts unreadable journal records; `plans` says of each price plan what it is.
    """

    since_unix_ms: int
    until_unix_ms: int
    lines: tuple[UsageLine, ...]
    total: UsageLine
    torn_records: int
    plans: dict[str, str]


class ProcessView(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the server."""

    pid: int
    role: str  # server | environment | template | worker
    deployment: str
    pss_bytes: int
    private_bytes: int


class CheckState(StrEnum):
    """What a look at one thing came to."""

    OK = "ok"
    DEGRADED = "degraded"  # it works, and will not for long or not as well as it could
    FAILED = "failed"


class CheckView(msgspec.Struct, frozen=True):
    """One line of `lambent doctor`."""

    name: str
    state: CheckState
    detail: str


class AsyncReply(msgspec.Struct, frozen=True):
    """An accepted asynchronous invocation, and later its outcome.

    `state`: queued, running, succeeded, dead, cancelled, forgotten.
    """

    id: str
    deployment: str
    state: str
    attempts: int
    error: str = ""


class DeadLetterView(msgspec.Struct, frozen=True, kw_only=True):
    """An asynchronous invocation that could not be done, without its event.

    `cause` is what its last try came to, `forget_unix_ms` until when it is kept.
    """

    id: str
    deployment: str
    cause: str
    attempts: int
    order_key: str
    created_unix_ms: int
    ended_unix_ms: int | None
    forget_unix_ms: int | None


class DeadLetterDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter with its event, and the error as user code left it, if there is one.

    Each is text where it is UTF-8, else the base64 of its bytes.
    """

    letter: DeadLetterView
    content_type: str
    event: str = ""
    event_base64: str = ""
    error: str = ""
    error_base64: str = ""


class DeadLetterRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letters of a deployment: the one with this id, or all where it is empty."""

    id: str = ""


class DeadLetterReply(msgspec.Struct, frozen=True):
    """How many dead letters were redriven or purged."""

    count: int


class WebhookSecretView(msgspec.Struct, frozen=True, kw_only=True):
    """What a project's webhooks are signed with: `secret`, and until a time `previous` as well."""

    secret: str
    previous: str
    overlap_until_unix_ms: int


class RotateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Make a new secret; the one before it goes on signing as well for `overlap_s`, 0 to a week."""

    overlap_s: Annotated[float, msgspec.Meta(ge=0, le=604_800)] = 86_400.0


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """A message to a webhook. `state`: waiting, delivered, failed. `id` is what the receiver knows it by."""

    id: str
    invocation: str
    deployment: str
    url: str
    state: str
    attempts: int
    error: str
    due_unix_ms: int
    created_unix_ms: int
