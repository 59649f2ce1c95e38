"""Where a record of an asynchronous invocation's end goes: to another deployment, or a queue. Pure.

The record is AWS Lambda's, so that functions written for its destinations read it.
"""

from __future__ import annotations

import contextlib
import hashlib
from datetime import UTC, datetime
from typing import Final

import msgspec

from lambent.core.invocation import JSON, called_from, id_from
from lambent.core.messages import Message
from lambent.core.naming import name_and_alias
from lambent.core.retrying import DeadReason
from lambent.core.spec import DeploymentSpec
from lambent.storage.queues import Letter
from lambent.storage.tickets import Ticket, TicketState
from lambent.wire.aws.names import LATEST, Place
from lambent.wire.aws.sqs_attributes import FIFO, name_of_arn
from lambent.wire.typed import from_json

RECORD_BYTES_MAX: Final = 1 << 20  # of a larger one the payloads are left out: what is not told ends no chain
RAN: Final = "200"  # of the invocation, which is not how the function fared
ERROR_BYTES_MAX: Final = 1024
# Why nothing more is tried, as AWS says it.
CONDITIONS: Final = {
    DeadReason.AGE: "EventAgeExceeded",
    DeadReason.NOTHING_RESERVED: "ZeroReservedConcurrency",
}
NULL: Final = msgspec.Raw(b"null")

_raw: Final = msgspec.json.Decoder(msgspec.Raw)


class Failure(msgspec.Struct, frozen=True, rename="camel"):
    """What a function's error says."""

    error_message: str = ""


class RequestContext(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was invoked, and why this is told."""

    request_id: str
    function_arn: str
    condition: str
    approximate_invoke_count: int


class ResponseContext(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How its last try ended."""

    status_code: int
    executed_version: str
    function_error: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The event that a destination gets. Nothing is said of the response where there was no try."""

    version: str
    timestamp: str
    request_context: RequestContext
    request_payload: msgspec.Raw
    response_context: ResponseContext | None = None
    response_payload: msgspec.Raw | None = None


def follow_of(spec: DeploymentSpec, before: Ticket, after: Ticket, *, now_unix_ms: int) -> Ticket | None:
    """The invocation that tells of an end; None where nobody is to be told, or it has not ended.

    `before` has the body, which one that succeeded has no more. It has the same id however often it is made.
    """
    wanted = _wanted(spec, after)
    if not wanted or name_of_arn(wanted):
        return None
    name, alias = name_and_alias(wanted)
    body = msgspec.json.encode(record_of(before, after, now_unix_ms=now_unix_ms))
    return Ticket(
        id=id_from(hashlib.sha256(f"{after.id}\n{wanted}".encode()).digest()),
        project=after.project,
        deployment=name,
        body=body,
        content_type=JSON,
        state=TicketState.QUEUED,
        due_unix_ms=now_unix_ms,
        queued_unix_ms=now_unix_ms,
        created_unix_ms=now_unix_ms,
        body_hash=hashlib.sha256(body).digest(),
        alias=alias,
        trace=after.trace,
        keyed=True,
    )


def letter_of(spec: DeploymentSpec, before: Ticket, after: Ticket, *, now_unix_ms: int) -> Letter | None:
    """The message that tells of an end, where a queue is to be told; otherwise as `follow_of`."""
    wanted = _wanted(spec, after)
    queue = name_of_arn(wanted)
    if not queue:
        return None
    body = msgspec.json.encode(record_of(before, after, now_unix_ms=now_unix_ms))
    told = id_from(hashlib.sha256(f"{after.id}\n{wanted}".encode()).digest())
    group = _group(queue, after)
    message = Message(id=told, body=body.decode(), size_bytes=len(body), group=group, dedup=told)
    return Letter(project=after.project, queue=queue, message=message, now_unix_ms=now_unix_ms)


def dead_letter_of(spec: DeploymentSpec, before: Ticket, after: Ticket, *, now_unix_ms: int) -> Letter | None:
    """The event of a dead one as a message, where a queue is to get it.

    Source: AWS Lambda Developer Guide, "Adding a dead-letter queue".
    """
    queue = name_of_arn(spec.dead_letters)
    if after.state is not TicketState.DEAD or not queue:
        return None
    told = {"RequestID": ("String", after.id), "ErrorMessage": ("String", _error_of(after))}
    if after.attempts:  # one that was never tried has no status
        told["ErrorCode"] = ("Number", RAN)
    attributes = {name: {"DataType": kind, "StringValue": value} for name, (kind, value) in told.items()}
    body = before.body.decode("utf-8", "replace")
    size_bytes = sum(len(text.encode()) for name, pair in told.items() for text in (name, *pair))
    id_ = id_from(hashlib.sha256(f"{after.id}\ndead\n{queue}".encode()).digest())
    message = Message(
        id=id_,
        body=body,
        attributes=attributes,
        size_bytes=len(body.encode()) + size_bytes,
        group=_group(queue, after),
        dedup=id_,
    )
    return Letter(project=after.project, queue=queue, message=message, now_unix_ms=now_unix_ms)


def _group(queue: str, after: Ticket) -> str:
    """Where the queue keeps an order, it is that of the deployment's ends."""
    return after.deployment if queue.endswith(FIFO) else ""


def letters_of(
    spec: DeploymentSpec, before: Ticket, after: Ticket, *, now_unix_ms: int
) -> tuple[Letter, ...]:
    """All messages to queues that an end is told by."""
    made = (make(spec, before, after, now_unix_ms=now_unix_ms) for make in (letter_of, dead_letter_of))
    return tuple(letter for letter in made if letter is not None)


def _error_of(ticket: Ticket) -> str:
    """What its function said, or else why it is dead: never empty, which no attribute may be."""
    said = ticket.error
    with contextlib.suppress(msgspec.DecodeError):  # no function answered, or not in this form
        said = from_json(ticket.result, Failure).error_message or said
    cut = said.encode()[:ERROR_BYTES_MAX].decode("utf-8", "ignore")
    return cut or "Unhandled"


def _wanted(spec: DeploymentSpec, after: Ticket) -> str:
    return {TicketState.SUCCEEDED: spec.on_success, TicketState.DEAD: spec.on_failure}.get(after.state, "")


def record_of(before: Ticket, after: Ticket, *, now_unix_ms: int) -> Record:
    """What is told of an end."""
    called = called_from(after.called)
    version = (called.version if called else "") or LATEST
    arn = called.arn if called else Place().function_arn(after.deployment)
    failed = after.state is TicketState.DEAD
    ran = after.attempts > 0
    large = len(before.body) + len(after.result) > RECORD_BYTES_MAX
    return Record(
        version="1.0",
        timestamp=datetime.fromtimestamp(now_unix_ms / 1e3, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
        request_context=RequestContext(
            request_id=after.id,
            function_arn=arn if arn.endswith(f":{version}") else f"{arn}:{version}",
            condition=_condition(after),
            approximate_invoke_count=after.attempts,
        ),
        request_payload=NULL if large else _payload(before.body or b"{}", before.content_type or JSON),
        response_context=ResponseContext(
            status_code=200, executed_version=version, function_error="Unhandled" if failed else ""
        )
        if ran
        else None,
        response_payload=(NULL if large else _payload(after.result, after.result_type)) if ran else None,
    )


def _condition(ticket: Ticket) -> str:
    if ticket.state is TicketState.SUCCEEDED:
        return "Success"
    for reason, condition in CONDITIONS.items():
        if ticket.error.endswith(f"({reason})"):
            return condition
    return "RetriesExhausted"


def _payload(body: bytes, content_type: str) -> msgspec.Raw:
    """A body within the record: JSON as it is, anything else as text."""
    if not body:
        return NULL
    if content_type == JSON:
        try:
            return _raw.decode(body)
        except msgspec.DecodeError:
            pass
    return msgspec.Raw(msgspec.json.encode(body.decode("utf-8", "replace")))
