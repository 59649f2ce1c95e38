"""A request of AWS's clients as an invocation, and what is told of it in any case."""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

from lambent.core.errors import LoadFailed, StillLoading, UserFault
from lambent.core.invocation import FunctionError, Invocation, Outcome, PrintTail
from lambent.gateway.address import sticky_of
from lambent.gateway.protocols.aws.asked import Asked
from lambent.gateway.protocols.aws.naming import Named
from lambent.gateway.requests import check_json
from lambent.gateway.tracing import trace_of
from lambent.pool.routes import Routes
from lambent.wire.aws import faults
from lambent.wire.aws.faults import Fault
from lambent.wire.typed import from_json

LATE: Final = "Sandbox.Timedout"


def invocation_of(
    asked: Asked, named: Named, routes: Routes, *, deadline_s: float | None = None
) -> Invocation:
    """Raises `Fault` for a payload that is not JSON, and for a client context that is none."""
    if asked.body:
        try:
            check_json(asked.body)
        except msgspec.DecodeError as error:
            raise faults.unparsable(str(error)) from error
    project, name, alias = asked.principal.project, named.function.name, named.alias
    headers = asked.request.headers
    context = headers.get(b"x-amz-client-context")
    return Invocation(
        id=asked.request.invocation_id,
        project=project,
        deployment=name,
        body=asked.body,
        alias=alias,
        sticky=sticky_of(headers, routes, project, name, alias) if named.is_split else "",
        client_context=_client_context(context) if context else "",
        print_tail=_print_tail(headers.get(b"x-amz-log-type")),
        deadline_s=deadline_s,
        trace=trace_of(headers, asked.request.scope["headers"]),
        called=named.called,
    )


def executed(routes: Routes, named: Named, outcome: Outcome) -> str:
    """The version that ran, as AWS tells it: of an alias that which it stood for, else what was asked for."""
    if named.version:
        return named.version
    ran = routes.of_revision(outcome.revision)
    return named.function.qualifier if ran is None else ran.plan.version or str(ran.plan.number)


def not_loaded(error: UserFault | StillLoading) -> FunctionError:
    """Code that cannot be loaded, or not in time, is the function's error, as on AWS."""
    if isinstance(error, StillLoading):
        return FunctionError(error.message, LATE)
    kind = error.kind if isinstance(error, LoadFailed) and error.kind else type(error).__name__
    trace = error.trace if isinstance(error, LoadFailed) else ()
    return FunctionError(error.message, kind, "", tuple(trace))


def _print_tail(kind: bytes | None) -> PrintTail:
    """Whether the end of the log is to be told with the answer. Raises `Fault` for no type of log."""
    if kind is None or kind in (b"", b"None"):
        return PrintTail.DROPPED
    if kind == b"Tail":
        return PrintTail.KEPT
    said = "Member must satisfy enum value set: [None, Tail]"
    raise faults.invalid("logType", kind.decode("latin-1"), said)


def _client_context(header: bytes) -> str:
    try:
        text = base64.b64decode(header, validate=True)
        from_json(text, dict[str, msgspec.Raw])
        return text.decode()
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        said = "Client context must be a valid Base64-encoded JSON object."
        raise Fault("InvalidRequestContentException", 400, said) from error
