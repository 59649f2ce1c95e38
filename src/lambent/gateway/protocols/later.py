"""Our own door for what is done later: `Prefer: respond-async`, and `/invocations/{id}` to ask about it.

`Lambent-Order-Key`, `Lambent-Delay-S` and `Lambent-Webhook` say on what terms; `Prefer: wait=N` waits for
the end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from lambent.core.deferral import DELAY_S_MAX, ORDER_KEY_CHARACTERS_MAX, Reach, Terms
from lambent.core.errors import CallerFault, NotFound
from lambent.core.invocation import JSON, FunctionError, Invocation, Principal, Role
from lambent.core.urls import checked_url
from lambent.gateway.acceptance import Acceptance
from lambent.gateway.auth import Keys
from lambent.gateway.requests import Request
from lambent.gateway.responses import Header, Reply, json_reply, not_allowed, type_header
from lambent.storage.tickets import OPEN, Ticket, TicketState
from lambent.wire.api import AsyncReply

INVOCATIONS: Final = "/invocations/"
WAIT_S_MAX: Final = 60.0
ALLOWED: Final = ("GET", "HEAD", "DELETE")

Headers = Mapping[bytes, bytes]


class Gone(NotFound):
    """It was there, and is not kept any more."""

    code = "forgotten"
    status = 410


class LaterDoor:
    """Accepts for later, tells of what was accepted, and cancels it."""

    def __init__(self, acceptance: Acceptance, keys: Keys) -> None:
        self._acceptance: Final = acceptance
        self._keys: Final = keys

    async def accept(
        self, request: Request, principal: Principal, invocation: Invocation, *, key: str
    ) -> Reply:
        """202 once it is on disk. Raises what `Acceptance.accept` raises, `CallerFault` for wrong terms."""
        terms = _terms(request.headers, principal)
        ticket = await self._acceptance.accept(invocation, key=key, terms=terms)
        request.invocation_id = ticket.id
        location = (INVOCATIONS + ticket.id).encode()
        headers = [
            *_ticket_headers(ticket),
            (b"location", location),
            (b"preference-applied", b"respond-async"),
        ]
        return json_reply(202, _view(ticket), headers)

    async def answer(self, request: Request) -> Reply:
        """Of one that was accepted: how far it is, or its outcome; or cancel it."""
        if request.method not in ALLOWED:
            return not_allowed(request.method, request.path, ALLOWED)
        principal = await self._keys.authenticate(request.headers)
        ticket_id = request.path.removeprefix(INVOCATIONS)
        if request.method == "DELETE":
            principal.require(Role.INVOKE)
            cancelled = await self._acceptance.cancel(principal.project, ticket_id)
            return json_reply(200, _view(cancelled), _ticket_headers(cancelled))
        principal.require(Role.READ)
        wait_s = _wait_s(request.headers)
        ticket = await self._acceptance.find(principal.project, ticket_id, wait_s=wait_s)
        return _told(ticket)


def wants_async(headers: Headers) -> bool:
    """Whether the preferences hold `respond-async`, a token without regard to case (RFC 7240)."""
    return b"prefer" in headers and b"respond-async" in _preferences(headers)


def _told(ticket: Ticket) -> Reply:
    if ticket.state is TicketState.FORGOTTEN:
        raise Gone(f"the outcome of {ticket.id!r} is not kept any more")
    headers = _ticket_headers(ticket)
    if ticket.state in OPEN:
        return json_reply(202, _view(ticket), [*headers, (b"retry-after", b"1")])
    body, content_type = ticket.result, ticket.result_type
    if ticket.state is TicketState.SUCCEEDED and ticket.error:  # the result was too large to be kept
        raise Gone(ticket.error)
    if ticket.state is TicketState.CANCELLED:
        when = "while it ran, or before it was tried again" if ticket.attempts else "before it ran"
        error = FunctionError(f"it was cancelled {when}", "Lambent.Cancelled")
        body, content_type = msgspec.json.encode(error), JSON
    if ticket.state is TicketState.DEAD and not body:
        body, content_type = msgspec.json.encode(FunctionError(ticket.error, "Lambent.NotRun")), JSON
    return Reply(200, [type_header(content_type), *headers], body)


def _ticket_headers(ticket: Ticket) -> list[Header]:
    return [
        (b"lambent-invocation-id", ticket.id.encode()),
        (b"lambent-status", ticket.state.value.encode()),
        (b"lambent-attempts", b"%d" % ticket.attempts),
    ]


def _view(ticket: Ticket) -> AsyncReply:
    return AsyncReply(ticket.id, ticket.deployment, ticket.state.value, ticket.attempts, ticket.error)


def _terms(headers: Headers, principal: Principal) -> Terms:
    webhook = headers.get(b"lambent-webhook", b"").decode("latin-1").strip()
    trusted = principal.role.includes(Role.DEPLOY)
    return Terms(
        order_key=_order_key(headers),
        delay_s=_delay_s(headers),
        webhook=checked_url(webhook) if webhook else "",
        reach=Reach.ANY if trusted else Reach.PUBLIC,
    )


def _order_key(headers: Headers) -> str:
    key = headers.get(b"lambent-order-key", b"").decode("latin-1").strip()
    if len(key) > ORDER_KEY_CHARACTERS_MAX:
        raise CallerFault(f"a Lambent-Order-Key has at most {ORDER_KEY_CHARACTERS_MAX} characters")
    return key


def _delay_s(headers: Headers) -> float:
    text = headers.get(b"lambent-delay-s", b"0").decode("latin-1")
    delay_s = _seconds(text)
    if not 0 <= delay_s <= DELAY_S_MAX:
        raise CallerFault(f"Lambent-Delay-S: {text[:40]!r} is not a number from 0 to {DELAY_S_MAX:g}")
    return delay_s


def _wait_s(headers: Headers) -> float:
    """The seconds of `Prefer: wait=N`. What is no such number is no preference."""
    wait_s = _seconds(_preferences(headers).get(b"wait", b"0").decode("latin-1"))
    return min(WAIT_S_MAX, wait_s) if wait_s > 0 else 0.0


def _preferences(headers: Headers) -> Mapping[bytes, bytes]:
    """Each preference with its value; of two equal ones the first counts, as RFC 7240 has it."""
    found: dict[bytes, bytes] = {}
    for preference in headers.get(b"prefer", b"").split(b","):
        name, _, value = preference.partition(b";")[0].partition(b"=")
        found.setdefault(name.strip().lower(), value.strip().strip(b'"'))
    return found


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
