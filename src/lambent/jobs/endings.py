"""What becomes of a ticket after a try: its result, a later try, or the dead-letter queue. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from lambent.core.deferral import retry_policy
from lambent.core.errors import LambentError, NothingReserved
from lambent.core.invocation import JSON, Outcome, Status, called_from
from lambent.core.retrying import Dead, DeadReason, is_failure, next_try
from lambent.core.spec import DeploymentSpec
from lambent.storage.filed import filed_of
from lambent.storage.tickets import Delivery, DeliveryState, Ticket, TicketState
from lambent.wire import replicate, runpod
from lambent.wire.faces import FaceKind

RESULT_BYTES_MAX: Final = 32 << 20
TOLD_BYTES_MAX: Final = 64 << 10  # a larger result is fetched, not sent to a webhook
CAUSE_CHARACTERS_MAX: Final = 4000
NOT_KEPT: Final = "result_not_kept"
# What programs that serve HTTP say as long as they are busy: Cog's server 409, others 429 or 503.
AT_CAPACITY: Final = frozenset({409, 429, 503})
CAPACITY_S: Final = 0.25
FULL: Final = "its program was at capacity"
CLIENT_ERROR: Final = 400

_raw: Final = msgspec.json.Decoder(msgspec.Raw)
replace: Final = msgspec.structs.replace


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a webhook hears of an invocation. `result` where it is JSON and not too large."""

    id: str
    deployment: str
    state: str
    attempts: int
    error: str = ""
    location: str
    result: msgspec.Raw = msgspec.Raw(b"")
    content_type: str = ""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a webhook, in the form that Standard Webhooks recommends."""

    type: str
    timestamp: str
    data: Told


def after_try(
    spec: DeploymentSpec, ticket: Ticket, outcome: Outcome | LambentError, *, jitter: float, now_unix_ms: int
) -> Ticket:
    """The ticket after one of its tries has ended. `jitter`: what share of the wait is waited, 0 to 1."""
    policy = retry_policy(spec)
    tries_max = 1 if ticket.face else policy.attempts_max
    if isinstance(outcome, Outcome) and outcome.status is Status.OK:
        said = outcome.head.status if outcome.head is not None else 0
        if ticket.face and said in AT_CAPACITY:
            due = now_unix_ms + int((0.5 + jitter) * CAPACITY_S * 1e3)
            return replace(
                ticket, state=TicketState.QUEUED, attempts=ticket.attempts - 1, error=FULL, due_unix_ms=due
            )
        is_refusal = said >= CLIENT_ERROR and not is_failure(said)
        if said < CLIENT_ERROR or (is_refusal and not ticket.face and not _is_for_endpoint(ticket)):
            return _succeeded(spec, ticket, outcome, now_unix_ms=now_unix_ms)
        tries_max = 1 if is_refusal else tries_max  # the same would be refused again
    cause, body, kind = _failure(outcome)
    ticket = replace(ticket, attempts=ticket.attempts - _refused(outcome))
    age_s = max(0.0, (now_unix_ms - ticket.queued_unix_ms) / 1e3)
    policy = replace(policy, attempts_max=tries_max)
    if isinstance(outcome, NothingReserved):
        return dead(spec, ticket, f"{cause} ({DeadReason.NOTHING_RESERVED})", now_unix_ms=now_unix_ms)
    verdict = next_try(policy, ticket.attempts, age_s=age_s, jitter=jitter)
    if isinstance(verdict, Dead):
        fits = len(body) <= RESULT_BYTES_MAX
        ticket = replace(ticket, result=body if fits else b"", result_type=kind if fits else "")
        return dead(spec, ticket, f"{cause} ({verdict.reason})", now_unix_ms=now_unix_ms)
    due = now_unix_ms + int(verdict.after_s * 1e3)
    return replace(ticket, state=TicketState.QUEUED, error=cause, due_unix_ms=due)


def _is_for_endpoint(ticket: Ticket) -> bool:
    """Whether it was accepted for an endpoint of SageMaker's, whose outputs are answers that went well."""
    called = called_from(ticket.called)
    return called is not None and ":sagemaker:" in called.arn


def too_old(spec: DeploymentSpec, ticket: Ticket, *, now_unix_ms: int) -> Ticket | None:
    """The ticket as a dead letter where its age forbids to try it, else None."""
    if now_unix_ms - ticket.queued_unix_ms <= spec.async_age_max_s * 1e3:
        return None
    cause = ticket.error or "it was not tried in time"
    return dead(spec, ticket, f"{cause} ({DeadReason.AGE})", now_unix_ms=now_unix_ms)


def dead(spec: DeploymentSpec, ticket: Ticket, cause: str, *, now_unix_ms: int) -> Ticket:
    """The ticket as a dead letter."""
    return replace(
        ticket,
        state=TicketState.DEAD,
        error=cause,
        ended_unix_ms=now_unix_ms,
        forget_unix_ms=now_unix_ms + int(spec.dead_keep_s * 1e3),
    )


def cancelled(spec: DeploymentSpec, ticket: Ticket, *, now_unix_ms: int) -> Ticket:
    """The ticket, never to be tried again because somebody wished so."""
    return replace(
        ticket,
        state=TicketState.CANCELLED,
        body=ticket.body if ticket.face else b"",
        ended_unix_ms=now_unix_ms,
        forget_unix_ms=now_unix_ms + int(spec.result_keep_s * 1e3),
    )


def delivery_of(ticket: Ticket, delivery: str, *, now_unix_ms: int) -> Delivery | None:
    """What its webhook is to be told, with the id `delivery`; None where it has none or has not ended."""
    if not ticket.webhook or ticket.state not in (TicketState.SUCCEEDED, TicketState.DEAD):
        return None
    body = _in_its_words(ticket) if ticket.face else _in_ours(ticket, now_unix_ms=now_unix_ms)
    return Delivery(
        id=delivery,
        project=ticket.project,
        deployment=ticket.deployment,
        ticket=ticket.id,
        url=ticket.webhook,
        reach=ticket.webhook_reach,
        body=body,
        state=DeliveryState.WAITING,
        due_unix_ms=now_unix_ms,
        created_unix_ms=now_unix_ms,
    )


def _in_its_words(ticket: Ticket) -> bytes:
    """As the API by which it was accepted shows it."""
    filed = filed_of(ticket)
    show = replicate.prediction if filed.face.kind is FaceKind.REPLICATE else runpod.job
    return msgspec.json.encode(show(filed))


def _in_ours(ticket: Ticket, *, now_unix_ms: int) -> bytes:
    told = Told(
        id=ticket.id,
        deployment=ticket.deployment,
        state=ticket.state.value,
        attempts=ticket.attempts,
        error=ticket.error,
        location=f"/invocations/{ticket.id}",
        result=_as_json(ticket),
        content_type=ticket.result_type,
    )
    timestamp = datetime.fromtimestamp(now_unix_ms / 1e3, UTC).isoformat(timespec="milliseconds")
    message = Message(type=f"invocation.{ticket.state.value}", timestamp=timestamp, data=told)
    return msgspec.json.encode(message)


def _succeeded(spec: DeploymentSpec, ticket: Ticket, outcome: Outcome, *, now_unix_ms: int) -> Ticket:
    kept, size_bytes = len(outcome.body) <= RESULT_BYTES_MAX, len(outcome.body)
    return replace(
        ticket,
        state=TicketState.SUCCEEDED,
        body=ticket.body if ticket.face else b"",  # whose clients are shown it
        result=outcome.body if kept else b"",
        result_type=_type_of(outcome) if kept else "",
        error=""
        if kept
        else f"{NOT_KEPT}: its {size_bytes} bytes are over the {RESULT_BYTES_MAX} that are kept",
        ended_unix_ms=now_unix_ms,
        forget_unix_ms=now_unix_ms + int(spec.result_keep_s * 1e3),
    )


def _refused(outcome: Outcome | LambentError) -> bool:
    """Whether we had no room for it, or were about to stop: a try that never was. Only its age ends those."""
    return isinstance(outcome, LambentError) and outcome.retryable


def _failure(outcome: Outcome | LambentError) -> tuple[str, bytes, str]:
    """The cause in words, and the error's body with its type where user code made one."""
    if isinstance(outcome, LambentError):
        return f"{outcome.code}: {outcome.message}"[:CAUSE_CHARACTERS_MAX], b"", ""
    error = outcome.error
    cause = f"{error.error_type}: {error.error_message}" if error else outcome.status.value
    if outcome.status is Status.OK and outcome.head is not None:
        cause = f"its program answered with the status {outcome.head.status}"
    return cause[:CAUSE_CHARACTERS_MAX], outcome.body, _type_of(outcome)


def _type_of(outcome: Outcome) -> str:
    """As an application says it in the head of its answer, where it is one that speaks HTTP."""
    said = dict(outcome.head.headers) if outcome.head is not None else {}
    return said.get("content-type") or outcome.content_type


def _as_json(ticket: Ticket) -> msgspec.Raw:
    """The result as it is, where it is JSON: the worker is not trusted to have said so."""
    if ticket.result_type != JSON or not 0 < len(ticket.result) <= TOLD_BYTES_MAX:
        return msgspec.Raw(b"")
    try:
        return _raw.decode(ticket.result).copy()
    except msgspec.DecodeError:
        return msgspec.Raw(b"")
