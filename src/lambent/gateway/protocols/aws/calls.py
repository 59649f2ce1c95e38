"""A request of AWS's clients as an invocation, and what is told of it in any case."""

from __future__ import annotations

import base64
import binascii

import msgspec

from lambent.core.errors import LoadFailed, UserFault
from lambent.core.invocation import Called, FunctionError, Invocation, Outcome, PrintTail
from lambent.gateway.address import sticky_of
from lambent.gateway.protocols.aws.asked import Asked
from lambent.gateway.protocols.aws.naming import alias_of
from lambent.gateway.requests import check_json
from lambent.gateway.tracing import trace_of
from lambent.pool.routes import Routes
from lambent.wire.aws import faults
from lambent.wire.aws.faults import Fault
from lambent.wire.aws.names import LATEST, FunctionName, Place, read_name
from lambent.wire.typed import from_json


def function_of(asked: Asked) -> FunctionName:
    """The function that the path and the query name. Raises `Fault`."""
    return read_name(asked.labels[0], asked.request.query.get("Qualifier", ""))


def invocation_of(
    asked: Asked, function: FunctionName, routes: Routes, *, deadline_s: float | None = None
) -> Invocation:
    """Raises `Fault` for a payload that is not JSON, and for a client context that is none."""
    if asked.body:
        try:
            check_json(asked.body)
        except msgspec.DecodeError as error:
            raise faults.unparsable(str(error)) from error
    project = asked.principal.project
    alias = alias_of(routes, project, function)
    headers = asked.request.headers
    return Invocation(
        id=asked.request.invocation_id,
        project=project,
        deployment=function.name,
        body=asked.body,
        alias=alias,
        sticky=sticky_of(headers, routes, project, function.name, alias),
        client_context=_client_context(asked.header(b"x-amz-client-context")),
        print_tail=PrintTail.KEPT if wants_tail(asked) else PrintTail.DROPPED,
        deadline_s=deadline_s,
        trace=trace_of(headers, asked.request.scope["headers"]),
        called=called_as(asked.place, function),
    )


def called_as(place: Place, function: FunctionName) -> Called:
    """Which version an alias stands for is told by who runs it."""
    arn = place.function_arn(function.name, function.qualifier)
    qualifier = function.qualifier or LATEST
    return Called(arn, qualifier if qualifier == LATEST or qualifier.isdecimal() else "")


def wants_tail(asked: Asked) -> bool:
    """Whether the end of the log is to be told with the answer. Raises `Fault` for no type of log."""
    kind = asked.header(b"x-amz-log-type")
    if kind not in ("", "None", "Tail"):
        raise faults.invalid("logType", kind, "Member must satisfy enum value set: [None, Tail]")
    return kind == "Tail"


def executed(routes: Routes, function: FunctionName, outcome: Outcome) -> str:
    """The version that ran, as AWS tells it: of an alias that which it stood for, else what was asked for."""
    qualifier = function.qualifier or LATEST
    if qualifier == LATEST or qualifier.isdecimal():
        return qualifier
    ran = routes.of_revision(outcome.revision)
    return qualifier if ran is None else ran.plan.version or str(ran.plan.number)


def not_loaded(error: UserFault) -> FunctionError:
    """Code that cannot be loaded is the function's error, as on AWS."""
    kind = error.kind if isinstance(error, LoadFailed) and error.kind else type(error).__name__
    trace = error.trace if isinstance(error, LoadFailed) else ()
    return FunctionError(error.message, kind, "", tuple(trace))


def _client_context(header: str) -> str:
    if not header:
        return ""
    try:
        text = base64.b64decode(header, validate=True)
        from_json(text, dict[str, msgspec.Raw])
        return text.decode()
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        said = "Client context must be a valid Base64-encoded JSON object."
        raise Fault("InvalidRequestContentException", 400, said) from error
