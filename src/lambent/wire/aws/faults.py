"""Answers of AWS's APIs other than success: their types, texts, members and status codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from lambent.core.errors import (
    CallerFault,
    Forbidden,
    HoldExpired,
    LambentError,
    NotFound,
    PayloadTooLarge,
    PlatformFault,
    QueueFull,
    Unauthenticated,
)


class Fault(CallerFault):
    """An answer of AWS's API other than success. `key` is the member that carries the text: AWS has two."""

    def __init__(
        self,
        kind: str,
        status: int,
        message: str,
        *,
        key: str = "message",
        extra: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.http_status = status
        self.key = key
        self.extra: Mapping[str, str] = {"Type": "User"} if extra is None else extra

    def body(self) -> bytes:
        """The JSON that clients parse. No message is null there."""
        return msgspec.json.encode({**self.extra, self.key: self.message or None})


def violation(member: str, value: str, constraint: str) -> str:
    """What AWS says of one value that does not fit the service's model."""
    return f"Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"


def detected(violations: Sequence[str]) -> str:
    """What it says of all of them."""
    count = f"{len(violations)} validation error{'s' if len(violations) > 1 else ''} detected"
    return f"{count}: {'; '.join(violations)}"


def invalid(member: str, value: str, constraint: str) -> Fault:
    """One value that does not fit the service's model."""
    return Fault("ValidationException", 400, detected([violation(member, value, constraint)]), extra={})


def not_found(arn: str) -> Fault:
    """No function, version or alias of this ARN."""
    return Fault("ResourceNotFoundException", 404, f"Function not found: {arn}", key="Message")


def too_large(limit_bytes: int, operation: str = "InvokeFunction") -> Fault:
    """The payload is over the limit."""
    text = f"Request must be smaller than {limit_bytes} bytes for the {operation} operation"
    kind = "RequestTooLarge" if operation.startswith("Invoke") else "RequestEntityTooLarge"
    return Fault(kind + "Exception", 413, text)


def unparsable(why: str) -> Fault:
    """The payload is not JSON."""
    return Fault("InvalidRequestContentException", 400, f"Could not parse request body into json: {why}")


def throttled(reason: str) -> Fault:
    """There is no room now; the client may try again."""
    return Fault("TooManyRequestsException", 429, "Rate Exceeded.", extra={"Reason": reason, "Type": "User"})


def fault_of(error: LambentError) -> Fault:
    """Any error of ours in AWS's words."""
    match error:
        case Fault():
            return error
        case QueueFull():
            return throttled("ReservedFunctionConcurrentInvocationLimitExceeded")
        case HoldExpired():
            return throttled("ConcurrentInvocationLimitExceeded")
        case NotFound():
            return Fault("ResourceNotFoundException", 404, error.message, key="Message")
        case Unauthenticated():
            return Fault("UnrecognizedClientException", 403, error.message, extra={})
        case Forbidden():
            return Fault("AccessDeniedException", 403, error.message, key="Message", extra={})
        case PayloadTooLarge():
            return Fault("RequestTooLargeException", 413, error.message)
        case PlatformFault():
            return Fault(
                "ServiceException", error.status, error.message, key="Message", extra={"Type": "Service"}
            )
        case CallerFault():
            return Fault("InvalidParameterValueException", 400, error.message)
    return Fault("ServiceException", error.status, error.message, key="Message", extra={"Type": "Service"})


def bad_parameter(text: str) -> Fault:
    """What fits the model, and still cannot be."""
    return Fault("InvalidParameterValueException", 400, text)


def refused_untyped(text: str) -> Fault:
    """The same of those operations of which AWS does not say whose fault it is."""
    return Fault("InvalidParameterValueException", 400, text, extra={})


def conflict(text: str) -> Fault:
    """What is there already, or is being changed."""
    return Fault("ResourceConflictException", 409, text)


def gone(text: str) -> Fault:
    """Something that is not there, in the operation's own words."""
    return Fault("ResourceNotFoundException", 404, text, key="Message")


def outdated(*, of: str = "GetFunction/GetAlias", what: str = "Revision Id") -> Fault:
    """Somebody else has changed it meanwhile."""
    text = (
        f"The {what} provided does not match the latest {what}. "
        f"Call the {of} API to retrieve the latest {what}"
    )
    return Fault("PreconditionFailedException", 412, text)
