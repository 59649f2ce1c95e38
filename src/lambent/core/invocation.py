"""One unit of work from acceptance to outcome, whatever door it came in by."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Final

import msgspec

from lambent.core.errors import Forbidden
from lambent.core.spec import Temperature
from lambent.core.tracing import Trace

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
PATH_BESIDE: Final = ":path"  # in a client context's `custom`: where an application is asked without HTTP


class Status(StrEnum):
    """How an invocation ended. All but `OK` carry a `FunctionError`."""

    OK = "ok"
    FAILED = "failed"  # the handler raised, or its result could not be written down
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"  # nobody waited for it any more, and it was told so
    EXITED = "exited"  # the worker ended in the middle: sys.exit, a signal, out of memory


class Role(StrEnum):
    """What a key may do; each role includes those below it."""

    ADMIN = "admin"
    DEPLOY = "deploy"
    INVOKE = "invoke"
    READ = "read"

    def includes(self, other: Role) -> bool:
        """Whether a key of this role may do what needs `other`."""
        return RANKS[self] <= RANKS[other]


RANKS: Final = {role: rank for rank, role in enumerate(Role)}


class Principal(msgspec.Struct, frozen=True):
    """Who asks: a key of a project."""

    project: str
    key_id: str
    role: Role

    def require(self, needed: Role) -> None:
        """Raise `Forbidden` unless the key's role includes `needed`."""
        if not self.role.includes(needed):
            raise Forbidden(f"this key has the role {self.role.value!r}; this needs {needed.value!r}")


class PrintTail(StrEnum):
    """Whether the end of what user code prints is wanted with the outcome: it costs, so it is asked for."""

    DROPPED = "dropped"
    KEPT = "kept"


class Trigger(StrEnum):
    """What set an invocation off, in the words of OpenTelemetry's conventions."""

    HTTP = "http"  # a request, whose client waits
    PUBSUB = "pubsub"  # it was accepted for later
    OTHER = "other"  # user code called it


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """The head of a request that user code sees as HTTP. Names of headers are in lower case.

    `path` is decoded, `raw_path` as it was sent; `root_path` is the part of it under which the deployment
    answers. `scheme` is http or https, or ws or wss for a WebSocket, which may speak one of `subprotocols`.
    """

    method: str
    path: str
    root_path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    scheme: str = "http"
    client: tuple[str, int] = ("", 0)
    subprotocols: tuple[str, ...] = ()
    raw_path: str = ""

    @property
    def is_socket(self) -> bool:
        """Whether it opens a WebSocket."""
        return self.scheme in ("ws", "wss")


class Head(msgspec.Struct, frozen=True, array_like=True):
    """The head of an answer that user code gives as HTTP. For a WebSocket that was accepted, 101."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()


class Called(msgspec.Struct, frozen=True, array_like=True):
    """As what AWS's client called a function: by this ARN, which stood for this version of it."""

    arn: str
    version: str


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """A request, freed of its protocol. `client_context` is JSON text.

    It goes to who answers under `alias`; `sticky` is what its caller is known by where that is split.

    `more`: the body is only its beginning. `asked` is there where the deployment speaks HTTP itself.
    `chain` are the deployments that called each other until this one was called, the first first. After
    `deadline_s` (monotonic) its caller does not wait any more, neither for a slot nor for the answer.
    It begins a trace where it comes with none. `called` is there where an AWS client asked for it.
    """

    id: str
    project: str
    deployment: str
    body: bytes
    content_type: str = JSON
    client_context: str = ""
    alias: str = ""
    sticky: str = ""
    print_tail: PrintTail = PrintTail.DROPPED
    more: bool = False
    asked: Asked | None = None
    chain: tuple[str, ...] = ()
    deadline_s: float | None = None
    trace: Trace | None = None
    called: Called | None = None
    trigger: Trigger = Trigger.HTTP


class FunctionError(msgspec.Struct, frozen=True, rename="camel"):
    """What went wrong in user code, in AWS Lambda's shape: `errorMessage`, `errorType` and so on."""

    error_message: str
    error_type: str
    request_id: str = ""
    stack_trace: tuple[str, ...] = ()


ARN_PARTS: Final = 7  # of a function's ARN, without a qualifier
_called: Final = msgspec.json.Decoder(Called)


def called_as_text(called: Called | None) -> str:
    """For a store; empty where there is none."""
    return "" if called is None else msgspec.json.encode(called).decode()


def called_from(text: str) -> Called | None:
    """What `called_as_text` wrote."""
    return _called.decode(text) if text else None


def qualifier_of(called: Called | None) -> str:
    """The alias or version in the ARN by which a function was called; empty where there was none."""
    parts = called.arn.split(":", ARN_PARTS) if called is not None else ()
    return parts[ARN_PARTS] if len(parts) > ARN_PARTS else ""


def cancelled_error(request_id: str) -> FunctionError:
    """What is said of an invocation that was told that nobody waits for it any more, and ended."""
    return FunctionError("the invocation was cancelled", "Lambent.Cancelled", request_id)


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of each part. `wake_ms` names the parts of a wake, empty where none was waited for."""

    queue_ms: float = 0.0
    run_ms: float = 0.0
    total_ms: float = 0.0
    wake_ms: dict[str, float] = {}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended. `body` is the result as the worker wrote it, or the error as JSON.

    `temperature` is the revision's when the invocation arrived. `log_tail` is the last 4 KiB that user code
    printed. `trace` is the invocation's, `worker` who ran it.
    """

    status: Status
    body: bytes
    content_type: str
    revision: str
    temperature: Temperature
    timing: Timing
    billed_ms: int
    error: FunctionError | None = None
    log_tail: bytes = b""
    memory_bytes: int = 0
    memory_used_bytes: int = 0
    head: Head | None = None
    trace: Trace | None = None
    worker: str = ""


def new_id() -> str:
    """A random id, as AWS's clients expect of a request id."""
    return id_from(os.urandom(16))


def id_from(bits: bytes) -> str:
    """The first 128 bits of `bits` in the form of a UUID 4."""
    text = bits.hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:32]}"
