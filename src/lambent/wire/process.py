"""Messages between the server and its templates, over a SOCK_SEQPACKET pair, one message a packet.

A template is a process that waits to be forked. The environment template is exec'd with
`python -m lambent.worker.main --control-fd N --imports a,b`; every other process is a fork that a template
makes when it is sent `Fork`. File descriptors travel with the message (SCM_RIGHTS).
"""

from __future__ import annotations

import signal
from enum import StrEnum
from typing import Final

import msgspec

from lambent.core.invocation import FunctionError
from lambent.core.spec import Interface, Program
from lambent.core.tensors import UNKNOWN, Signature

PACKET_BYTES_MAX: Final = 160 * 1024

# Makes a worker that runs code look at what has arrived: a call may have been cancelled.
CANCEL_SIGNAL: Final = signal.SIGRTMIN + 6

# An environment variable of every process of an engine, by which it knows what its workers left behind. It
# stays in the environment that user code and its children get.
MARK: Final = "LAMBENT_ENGINE"


class Runtime(StrEnum):
    """What a worker does with a call."""

    HANDLER = "handler"  # entrypoint(event, context)
    ASGI = "asgi"  # an ASGI application, or a function of a WebSocket
    RUNTIME_API = "runtime_api"  # a program that polls AWS Lambda's Runtime API, which the worker serves
    HTTP = "http"  # a program that serves HTTP, which the worker starts and passes requests to
    RUNPOD = "runpod"  # a program that asks for jobs, which the worker starts and answers
    MODEL = "model"  # a model class, or an adapter alone: predict(inputs)
    SAGEMAKER = "sagemaker"  # a model archive by the functions of its inference.py
    TORCHSERVE = "torchserve"  # a .mar by its handler
    JOB = "job"  # entrypoint(run)
    DESCRIBE = "describe"  # import the code and say what it declares
    PREPARE = "prepare"  # make a model artifact ready to be served: derive fork-safe forms, check them


# These are forked from the environment template, answer one call and exit.
ONE_SHOT: Final = frozenset({Runtime.JOB, Runtime.DESCRIBE, Runtime.PREPARE})


# These run in a program of their own, which the worker starts: nothing of it is in a template.
PROGRAMS: Final = frozenset({Runtime.RUNTIME_API, Runtime.HTTP, Runtime.RUNPOD})
# These are told each request as it came and answer it themselves, any method and any path.
SPEAKS_HTTP: Final = frozenset({Runtime.ASGI, Runtime.HTTP})
NOT_FORKED: Final = "it runs in a program of its own, and a program that has started cannot be forked"


class ChildRole(StrEnum):
    """What a fork becomes. A template gets fds [control, log], all others [stream, log].

    A probe shows that workers could be forked: it becomes one, rehearses, says hello and exits. A parked
    worker waits for `Wake` before it becomes one.
    """

    TEMPLATE = "template"
    WORKER = "worker"
    PROBE = "probe"
    PARKED = "parked"


class RevisionPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All that a process needs to know to run one revision. Paths are absolute, empty where absent."""

    revision: str
    deployment: str
    project: str
    number: int
    runtime: Runtime
    interface: Interface = Interface.EVENT
    program: Program = Program.NATIVE
    entrypoint: str = ""
    command: str = ""  # of Runtime.HTTP, for a shell
    ready_path: str = ""
    ready_timeout_s: float = 60.0
    adapter: str = ""
    code_dir: str = ""
    layer_dirs: tuple[str, ...] = ()  # importable beside the code, the first before the others
    version: str = ""  # what user code is told of its version, unless it is the number
    model_dir: str = ""
    work_dir: str = ""  # DESCRIBE, PREPARE and JOB may write here
    imports: tuple[str, ...] = ()  # what the environment template imports
    env: dict[str, str] = {}
    memory_bytes: int = 512 * 1024 * 1024
    mapped_bytes: int = 0  # of `model_dir`, to be mapped from files beside that memory
    concurrency: int = 1  # how many calls it runs at once
    max_batch: int = 1  # how many rows of a model may run as one
    threaded: bool = False  # sync code runs them in threads of its own
    threads: int = 1  # how many the frameworks of a worker may use
    signature: Signature = UNKNOWN  # what its model takes and gives, as tensors
    remarks: tuple[str, ...] = ()  # why its model is not served in the best way
    unsafe_allowed: bool = False  # fork its template whatever was found in it, if a fork of it serves
    timeout_s: float = 60.0
    socket_s: float = 7200.0  # how long a WebSocket may live
    socket_idle_s: float = 600.0  # how long one may be silent
    function_arn: str = ""
    log_group: str = ""
    log_stream: str = ""
    run: str = ""  # of a job: what it prints is in the log of this one as well


def log_stream_of(plan: RevisionPlan, worker: str) -> str:
    """What AWS's clients call the part of a log that one worker prints, and user code hears of."""
    return plan.log_stream + worker_mark(worker) if plan.log_stream else ""


def worker_mark(name: str) -> str:
    """What a worker's id and the name of its stream have in common: the end of both."""
    return name[-12:]


class Fork(msgspec.Struct, frozen=True, tag="fork"):
    """Server → template: fork a child. A template that has not loaded `plan` leaves that to the child."""

    child: str
    role: ChildRole
    plan: RevisionPlan


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Template → server: imports (and load/init) are done.

    `unsafe` says why this process must not be forked, one sentence each; empty means that it may.
    """

    pid: int
    parts_ms: dict[str, float]
    unsafe: tuple[str, ...] = ()


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Template → server: imports or load/init failed; the process exits."""

    error: FunctionError


class Forked(msgspec.Struct, frozen=True, tag="forked"):
    """Template → server: the child exists."""

    child: str
    pid: int
    fork_ms: float


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    """Template → server: a child was reaped. `status` is as `os.waitstatus_to_exitcode` takes it."""

    child: str
    pid: int
    status: int
    cpu_us: int
    rss_bytes_max: int


ToTemplate = Fork
FromTemplate = Ready | Failed | Forked | Exited
