"""The shapes of AWS Lambda's own API: names, errors, function configurations, the log tail.

The texts are AWS's: programs match on them.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

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
from lambent.core.invocation import FunctionError, Outcome, Status
from lambent.core.spec import MIB, DeploymentSpec

LATEST: Final = "$LATEST"
TAIL_BYTES_MAX: Final = 4096
FUNCTION_NAME: Final = re.compile(
    r"(?:arn:aws[a-zA-Z-]*:lambda:)?(?:[a-z]{2}(?:-[a-z]+)+-\d:)?(?:\d{12}:)?(?:function:)?"
    r"([a-zA-Z0-9_-]{1,140})(?::(\$LATEST|[a-zA-Z0-9_-]{1,128}))?"
)


class Place(msgspec.Struct, frozen=True):
    """Where AWS's clients are told that they are. Nothing depends on it but the text of ARNs."""

    region: str = "us-east-1"
    account: str = "000000000000"

    def function_arn(self, name: str, qualifier: str = "") -> str:
        """The ARN of a function, or of one version of it."""
        arn = f"arn:aws:lambda:{self.region}:{self.account}:function:{name}"
        return f"{arn}:{qualifier}" if qualifier else arn


class FunctionName(msgspec.Struct, frozen=True):
    """A function as a path names it; `qualifier` is empty where it names none."""

    name: str
    qualifier: str = ""


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
        """The JSON that clients parse."""
        return msgspec.json.encode({**self.extra, self.key: self.message})


def read_name(text: str, qualifier: str) -> FunctionName:
    """A function from any form that AWS takes: name, partial ARN or ARN, each with or without `:qualifier`.

    `qualifier` is that of the query. Raises `Fault` for what is no name, or where the two qualifiers differ.
    """
    match = FUNCTION_NAME.fullmatch(text)
    if match is None:
        raise invalid(
            "functionName", text, f"Member must satisfy regular expression pattern: {FUNCTION_NAME.pattern}"
        )
    own = match[2] or ""
    if own and qualifier and own != qualifier:
        raise Fault(
            "InvalidParameterValueException",
            400,
            "The derived qualifier from the function name does not match the specified qualifier.",
        )
    return FunctionName(match[1], own or qualifier)


def invalid(member: str, value: str, constraint: str) -> Fault:
    """One value that does not fit the service's model."""
    what = f"Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"
    return Fault("ValidationException", 400, f"1 validation error detected: {what}", extra={})


def not_found(arn: str) -> Fault:
    """No function, version or alias of this ARN."""
    return Fault("ResourceNotFoundException", 404, f"Function not found: {arn}", key="Message")


def too_large(limit_bytes: int) -> Fault:
    """The payload is over the limit."""
    text = f"Request must be smaller than {limit_bytes} bytes for the InvokeFunction operation"
    return Fault("RequestTooLargeException", 413, text)


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


def error_payload(request_id: str, status: Status, error: FunctionError) -> bytes:
    """The body of an answer with `X-Amz-Function-Error`.

    The death of a process has neither request id nor stack, but names the request in its message.
    """
    if status is Status.FAILED:
        return msgspec.json.encode(error)
    message = error.error_message
    if not message.startswith("RequestId:"):
        message = f"RequestId: {request_id} Error: {message}"
    return msgspec.json.encode({"errorType": error.error_type, "errorMessage": message})


def response_too_large(limit_bytes: int) -> FunctionError:
    """The result is over the limit of what AWS's clients take."""
    text = f"Response payload size exceeded maximum allowed payload size ({limit_bytes} bytes)."
    return FunctionError(text, "Function.ResponseSizeTooLarge")


def log_result(request_id: str, version: str, outcome: Outcome) -> str:
    """`X-Amz-Log-Result`: the last 4 KiB of what was printed, between AWS's own lines, in base64."""
    timing = outcome.timing
    report = (
        f"REPORT RequestId: {request_id}\tDuration: {timing.run_ms:.2f} ms\t"
        f"Billed Duration: {outcome.billed_ms} ms\tMemory Size: {outcome.memory_bytes // MIB} MB\t"
        f"Max Memory Used: {outcome.memory_used_bytes // MIB} MB\t"
    )
    if timing.wake_ms:
        report += f"Init Duration: {sum(timing.wake_ms.values()):.2f} ms\t"
    printed = outcome.log_tail
    if printed and not printed.endswith(b"\n"):
        printed += b"\n"
    start = f"START RequestId: {request_id} Version: {version}\n".encode()
    end = f"END RequestId: {request_id}\n{report}\n".encode()
    return base64.b64encode((start + printed + end)[-TAIL_BYTES_MAX:]).decode()


class TracingConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """Whether calls are traced by AWS's own tracer: not here."""

    mode: str = "PassThrough"


class EphemeralStorage(msgspec.Struct, frozen=True, rename="pascal"):
    """MiB of private temporary files; AWS's default."""

    size: int = 512


class SnapStart(msgspec.Struct, frozen=True, rename="pascal"):
    """AWS's snapshots, which its clients switch on and off; ours are always there."""

    apply_on: str = "None"
    optimization_status: str = "Off"


class FunctionConfiguration(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A function as AWS describes it, with every member that AWS always sends."""

    function_name: str
    function_arn: str
    runtime: str
    role: str
    handler: str
    description: str
    timeout: int
    memory_size: int
    last_modified: str
    code_sha256: str
    version: str
    environment: dict[str, dict[str, str]]
    revision_id: str
    logging_config: dict[str, str]
    code_size: int = 0
    tracing_config: TracingConfig = TracingConfig()
    state: str = "Active"
    last_update_status: str = "Successful"
    package_type: str = "Zip"
    architectures: tuple[str, ...] = ("x86_64",)
    ephemeral_storage: EphemeralStorage = EphemeralStorage()
    snap_start: SnapStart = SnapStart()


def configuration(
    spec: DeploymentSpec, *, place: Place, revision: str, version: str, modified_unix_ms: int, runtime: str
) -> FunctionConfiguration:
    """What AWS's clients see of a deployment.

    `CodeSha256` stands for the whole revision: code, model and settings.
    """
    modified = datetime.fromtimestamp(modified_unix_ms / 1000, UTC)
    return FunctionConfiguration(
        function_name=spec.name,
        function_arn=place.function_arn(spec.name, "" if version == LATEST else version),
        runtime=runtime,
        role=f"arn:aws:iam::{place.account}:role/lambent",
        handler=spec.entrypoint.replace(":", "."),
        description=spec.description,
        timeout=max(1, round(spec.timeout_s)),
        memory_size=spec.memory_bytes // MIB,
        last_modified=modified.isoformat(timespec="milliseconds").replace("+00:00", "+0000"),
        code_sha256=base64.b64encode(hashlib.sha256(revision.encode()).digest()).decode(),
        version=version,
        environment={"Variables": dict(spec.env)},
        revision_id=revision,
        logging_config={"LogFormat": "Text", "LogGroup": f"/aws/lambda/{spec.name}"},
    )
