"""What a user asks for: a deployment's specification, validated where it is born."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import msgspec

from lambent.core.errors import InvalidSpec
from lambent.core.tensors import UNKNOWN, Signature
from lambent.core.worded import shown

MIB: Final = 1024 * 1024
# As AWS Lambda names functions, but for a first '-', which commands would take for an option.
NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
Setting = str | int | float  # a value of a setting
Param = Any  # a value of a run's parameter: whatever JSON can say


class Kind(StrEnum):
    """What a deployment is."""

    FUNCTION = "function"
    MODEL = "model"
    JOB = "job"


class Temperature(StrEnum):
    """How ready a revision is on a node, coldest first."""

    COLD = "cold"
    WARM = "warm"
    PRIMED = "primed"
    HOT = "hot"


class Keep(StrEnum):
    """What a deployment's owner wants kept ready, whatever it costs."""

    AUTO = "auto"  # the thermostat decides
    PRIMED = "primed"  # its template stays
    HOT = "hot"  # a worker stays


class ForkUnsafe(StrEnum):
    """What becomes of a template that an inspection found unsafe to fork: threads, sockets, open files."""

    REFUSE = "refuse"  # it is let go, and each worker loads by itself
    ALLOW = "allow"  # its owner knows better; a fork of it must still be seen to serve


class Interface(StrEnum):
    """What user code is called with."""

    EVENT = "event"  # handler(event, context), or predict(inputs)
    ASGI = "asgi"  # HTTP and WebSockets, as an ASGI application
    WEBSOCKET = "websocket"  # an async function of one WebSocket
    SAGEMAKER = "sagemaker"  # the functions of a model archive's inference.py
    TORCHSERVE = "torchserve"  # the handler of a .mar: initialize(context), handle(data, context)


class Parallel(StrEnum):
    """How one worker runs several calls at once, where `concurrency` is above 1."""

    ASYNC = "async"  # on its event loop: the code must be async
    THREADS = "threads"  # each in a thread: its owner says that the code may run so


class Program(StrEnum):
    """What runs a function's code."""

    NATIVE = "native"  # a worker that imports it, which can be forked once that is done
    PROVIDED = "provided"  # the artifact's executable `bootstrap`, which polls AWS Lambda's Runtime API
    AWSLAMBDARIC = "awslambdaric"  # AWS's own client of that API for Python, as a process
    HTTP = "http"  # a command that serves HTTP on the port that it is told
    RUNPOD = "runpod"  # a command that asks for jobs, as RunPod's workers do


COMMANDS: Final = (Program.HTTP, Program.RUNPOD)  # what a shell starts

CONCURRENCY_MAX: Final = 1000  # calls that one worker runs at once
CONNECTIONS: Final = 100  # the same, for an application that is called by HTTP or WebSocket

# Longer than any idle time that is worth a thought: the default, so that the thermostat alone decides.
TEMPLATE_KEEP_S_MAX: Final = 30 * 86_400.0


class DeploymentSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything about a deployment but its bytes.

    `entrypoint` is `module:object` inside the code artifact, or empty where `adapter` serves a model file
    alone. `train` names the job deployment that makes a model when there is none. A worker runs `concurrency`
    calls at once, in the way of `parallel`. `runtime` says what runs it; where that is `provided`,
    `entrypoint` is what the process is told of its handler, as it is. `threads` is how many a worker's
    frameworks may use. Up to `max_batch` calls of a model run as one, as many as are in time for
    `latency_target_ms` after their arrival; those that cannot be are refused. Without a target, 0, none is.
    `workers_min_schedule` is a further minimum by the time of day, in the words of `core.schedule`. `keep`
    asks for a temperature that memory's price does not move; `template_keep_s` is how long a template may
    outlive the last worker even while memory is free.
    `signature` is what a model class declares that it takes and gives, as tensors.
    `accept` is what a model's metrics must be before it serves, in the words of `core.gating`; it is trained
    anew when what it answers has drifted by more than `drift_max` (see `core.drift`), 0 for never.
    `schema` is a JSON Schema of a function's event, as JSON; empty where nothing is known of it.
    `skills` are the methods of a model beside `predict`, such as `chat` (see `wire.skills`).
    `command` is what a shell starts where `runtime` is `http` or `runpod`. It is ready once it listens, or
    answers 2xx on `ready_path`, or asks for a job, `ready_timeout_s` after its start at the latest.
    `layers` are artifacts that are importable beside the code, the last one first. `version` is what user
    code is told that it is: where it is empty, the revision's number.
    `fork_unsafe` says whether a template is forked in spite of what was found in it. A WebSocket ends after
    `socket_s`, or when it was silent for `socket_idle_s`.

    Of asynchronous invocations: `retries` come after the first try, the longest waits between them are
    `retry_first_s` and then four times as much each; none is tried that is older than `async_age_max_s`.
    `timeout_s` bounds each try. At most `async_running_max` run at once, 0 for all workers but one. An
    outcome is kept for `result_keep_s`, a dead letter for `dead_keep_s`. `webhook` hears of each end;
    `on_success` and `on_failure` are deployments, as `name` or `name:alias`, that are invoked with a record
    of it, or ARNs of queues that get the record as a message. `dead_letters` is the ARN of a queue that gets
    the events of dead ones. `schedule` invokes it by the clock: an expression of `core.timers`, and after a
    semicolon a time zone. New versions of the datasets `on_data`, with commas between, start a run of a job.

    Of the runs of a job: `workers_max` run at once, and `timeout_s` bounds all the time that one runs. It
    does so in slices of `slice_s`, 0 for 10 minutes once it has a checkpoint; one that was asked to leave has
    `grace_s` to write its checkpoint. `retries` are the failures that it is forgiven without getting further.
    `priority` says who goes first, the highest; who is lower makes place. A tick of `schedule` starts a run.
    A run that has cost `max_cost_usd` ends with a checkpoint; 0: none does.
    """

    name: str
    kind: Kind
    interface: Interface = Interface.EVENT
    entrypoint: str = ""
    adapter: str = ""
    train: str = ""
    signature: Signature = UNKNOWN
    skills: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    version: str = ""
    imports: tuple[str, ...] = ()
    memory_bytes: int = 512 * MIB
    timeout_s: float = 60.0
    hold_s: float = 60.0
    socket_s: float = 7200.0
    socket_idle_s: float = 600.0
    keep_alive_s: float = 60.0
    template_keep_s: float = TEMPLATE_KEEP_S_MAX
    keep: Keep = Keep.AUTO
    fork_unsafe: ForkUnsafe = ForkUnsafe.REFUSE
    workers_min: int = 0
    workers_min_schedule: str = ""
    workers_max: int = 4
    concurrency: int = 1
    parallel: Parallel = Parallel.ASYNC
    runtime: Program = Program.NATIVE
    command: str = ""
    ready_path: str = ""
    ready_timeout_s: float = 60.0
    max_batch: int = 1
    latency_target_ms: float = 0.0
    threads: int = 1
    queue_depth_max: int = 1000
    retries: int = 2
    retry_first_s: float = 2.0
    async_age_max_s: float = 6 * 3600.0
    async_running_max: int = 0
    result_keep_s: float = 86_400.0
    dead_keep_s: float = 14 * 86_400.0
    slice_s: float = 0.0
    grace_s: float = 30.0
    priority: int = 0
    max_cost_usd: float = 0.0
    webhook: str = ""
    on_success: str = ""
    on_failure: str = ""
    dead_letters: str = ""
    schedule: str = ""
    env: dict[str, str] = {}
    description: str = ""
    schema: str = ""
    accept: str = ""
    drift_max: float = 0.0
    on_data: str = ""


BOOTSTRAP: Final = "bootstrap"  # the executable at the root of an artifact that is `provided`
# Where a kind's sensible values differ from the fields' own.
KIND_DEFAULTS: Final[Mapping[Kind, Mapping[str, float]]] = {
    Kind.FUNCTION: {},
    Kind.MODEL: {},
    Kind.JOB: {"timeout_s": 3600.0, "memory_bytes": 8 * 1024 * MIB, "retries": 3},
}
# Settings that only one kind has.
OF_ONE_KIND: Final[Mapping[str, Kind]] = MappingProxyType(
    {"schema": Kind.FUNCTION, "accept": Kind.MODEL, "drift_max": Kind.MODEL, "on_data": Kind.JOB}
)


def new_spec(
    name: str,
    kind: Kind,
    *,
    interface: Interface = Interface.EVENT,
    entrypoint: str = "",
    adapter: str = "",
    train: str = "",
) -> DeploymentSpec:
    """A specification with the defaults of its kind. Raises `InvalidSpec` for a bad name."""
    spec = DeploymentSpec(
        name=name, kind=kind, interface=interface, entrypoint=entrypoint, adapter=adapter, train=train
    )
    if interface in (Interface.ASGI, Interface.WEBSOCKET):
        spec = msgspec.structs.replace(spec, concurrency=CONNECTIONS)
    return checked(msgspec.structs.replace(spec, **KIND_DEFAULTS[kind]))


def checked(spec: DeploymentSpec) -> DeploymentSpec:
    """`spec` itself, or `InvalidSpec` where its fields do not fit together."""
    if not NAME.fullmatch(spec.name):
        raise InvalidSpec(
            f"{shown(spec.name)} is not a name: use 1 to 64 of A-Z, a-z, 0-9, '-' and '_', "
            "not starting with '-'"
        )
    if spec.max_batch > 1 and (spec.kind is not Kind.MODEL or spec.concurrency > 1):
        raise InvalidSpec(
            f"max_batch={spec.max_batch} is for models that run one call at a time; "
            f"{spec.name!r} is a {spec.kind} with concurrency={spec.concurrency}"
        )
    if spec.runtime is not Program.NATIVE:
        _check_process(spec)
    if spec.command and spec.runtime not in COMMANDS:
        raise InvalidSpec(
            f"a command is for runtime={' or '.join(COMMANDS)}; {spec.name!r} has {spec.runtime}"
        )
    if spec.ready_path and spec.runtime is not Program.HTTP:
        raise InvalidSpec(f"ready_path is for runtime=http; {spec.name!r} has {spec.runtime}")
    for key, kind in OF_ONE_KIND.items():
        if getattr(spec, key) and spec.kind is not kind:
            raise InvalidSpec(f"{key} is for {kind}s; {spec.name!r} is a {spec.kind}")
    if spec.workers_min > spec.workers_max:
        raise InvalidSpec(f"workers_min={spec.workers_min} is above workers_max={spec.workers_max}")
    if spec.schedule or spec.workers_min_schedule:
        _check_times(spec)
    return spec


def _check_times(spec: DeploymentSpec) -> None:
    if spec.schedule:
        from lambent.core.timers import checked_timer, own_timer

        checked_timer(own_timer(spec.schedule))
    if spec.workers_min_schedule:
        from lambent.core.schedule import most_workers, read_schedule  # few ask for one, and cron takes time

        if (most := most_workers(read_schedule(spec.workers_min_schedule))) > spec.workers_max:
            raise InvalidSpec(f"workers_min_schedule asks for {most}, workers_max is {spec.workers_max}")


def _check_process(spec: DeploymentSpec) -> None:
    if spec.kind is not Kind.FUNCTION or spec.interface is not Interface.EVENT:
        raise InvalidSpec(
            f"runtime={spec.runtime} is for functions that are called with an event; "
            f"{spec.name!r} is a {spec.kind} that is called by {spec.interface}"
        )
    if spec.fork_unsafe is ForkUnsafe.ALLOW:
        raise InvalidSpec(
            f"fork_unsafe={spec.fork_unsafe} says nothing of {spec.name!r}: what runs with "
            f"runtime={spec.runtime} is a process of its own, and no fork of it would be one"
        )
