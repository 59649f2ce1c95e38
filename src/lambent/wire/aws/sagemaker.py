"""SageMaker's runtime in its own words: faults, the errors of models, and the headers for user code.

The texts are AWS's where programs match on them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from lambent.core.invocation import PATH_BESIDE, FunctionError, Status
from lambent.wire.aws.faults import Fault
from lambent.wire.aws.names import Place
from lambent.wire.aws.reading import violated

Headers = Mapping[bytes, bytes]

PREFIX: Final = b"x-amzn-sagemaker-"
DIGITS: Final = re.compile(r"[0-9]{1,9}")
ACCEPT: Final = b"accept"
ACCEPT_LATER: Final = PREFIX + b"accept"
TYPE_LATER: Final = PREFIX + b"content-type"
CUSTOM_ATTRIBUTES: Final = PREFIX + b"custom-attributes"
TARGET_VARIANT: Final = PREFIX + b"target-variant"
INVOKED_VARIANT: Final = b"x-amzn-invoked-production-variant"
ALL_TRAFFIC: Final = "AllTraffic"  # the variant of an endpoint that has but one

# Of endpoints that hold several models, containers or sessions, which ours do not.
UNSUPPORTED: Final[Mapping[bytes, str]] = {
    PREFIX + b"target-model": "TargetModel is only for multi-model endpoints",
    PREFIX + b"target-container-hostname": "TargetContainerHostname is only for multi-container endpoints",
    PREFIX + b"inference-component": "InferenceComponentName is only for endpoints with inference components",
    PREFIX + b"session-id": "SessionId is only for endpoints with stateful sessions",
}

# Headers whose values have bounds. The numbers are read by nobody here: see `async_age_max_s`, `timeout_s`.
INFERENCE_ID: Final = PREFIX + b"inference-id"
INFERENCE_ID_CHARACTERS_MAX: Final = 64
NUMBERS: Final[Mapping[bytes, tuple[str, int, int]]] = {
    PREFIX + b"requestttlseconds": ("requestTTLSeconds", 60, 21_600),
    PREFIX + b"invocationtimeoutseconds": ("invocationTimeoutSeconds", 1, 3_600),
}

MESSAGE_CHARACTERS_MAX: Final = 1024
TIMED_OUT: Final = (
    "Your invocation timed out while waiting for a response from container primary. Review the latency "
    "metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
)
# How a fault of another of AWS's APIs is called here, and its status.
KINDS: Final[Mapping[str, tuple[str, int]]] = {
    "InvalidParameterValueException": ("ValidationError", 400),
    "ValidationException": ("ValidationError", 400),
    "ResourceNotFoundException": ("ValidationError", 400),
    "TooManyRequestsException": ("ServiceUnavailable", 503),
    "RequestTooLargeException": ("RequestEntityTooLargeException", 413),
    "ServiceException": ("InternalFailure", 500),
}


class ModelError(msgspec.Struct, frozen=True, rename="pascal"):
    """What came of a call whose model failed: 424. `original_status_code` is the model's own, 0 for none."""

    message: str
    original_message: str
    original_status_code: int
    log_stream_arn: str


def invalid(message: str) -> Fault:
    """A request that cannot be done as it is."""
    return Fault("ValidationError", 400, message, key="Message", extra={})


def check_bounds(headers: Headers) -> None:
    """Raise `Fault` for a header whose value the service model does not allow."""
    inference_id = headers.get(INFERENCE_ID, b"").decode("latin-1")
    if len(inference_id) > INFERENCE_ID_CHARACTERS_MAX:
        said = f"Member must have length less than or equal to {INFERENCE_ID_CHARACTERS_MAX}"
        raise violated("inferenceId", inference_id, said)
    for name, (member, low, high) in NUMBERS.items():
        text = headers.get(name, b"").decode("latin-1")
        if not text:
            continue
        if not DIGITS.fullmatch(text) or int(text) < low:
            raise violated(member, text, f"Member must have value greater than or equal to {low}")
        if int(text) > high:
            raise violated(member, text, f"Member must have value less than or equal to {high}")


def no_endpoint(name: str, place: Place) -> Fault:
    """There is none of this name."""
    return invalid(f"Endpoint {name} of account {place.account} not found.")


def no_variant(variant: str, name: str) -> Fault:
    """The endpoint has none of this name."""
    return invalid(f"Variant {variant} not found for endpoint {name}.")


def in_its_words(fault: Fault) -> Fault:
    """A fault as this service calls it."""
    kind, status = KINDS.get(fault.kind, (fault.kind, fault.http_status))
    return Fault(kind, status, fault.message, key="Message", extra={})


def model_error(name: str, place: Place, *, status: int, message: str) -> ModelError:
    """What is told where a model answered with `status`, or with an error and no status of its own (0)."""
    message = message[:MESSAGE_CHARACTERS_MAX]
    whose = "client" if 400 <= status < 500 else "server"
    group = f"/aws/sagemaker/Endpoints/{name}"
    return ModelError(
        message=f'Received {whose} error ({status}) from primary with message "{message}". '
        f"See `lambent logs {name}` for more information.",
        original_message=message,
        original_status_code=status,
        log_stream_arn=f"arn:aws:logs:{place.region}:{place.account}:log-group:{group}",
    )


def said_of(status: Status, error: FunctionError, own_status: int) -> tuple[int, str]:
    """The model's status and its words, from how its call ended; `own_status` is 0 where it said none."""
    if status is Status.TIMED_OUT:
        return 0, TIMED_OUT
    if error.error_type == "Runtime.UnmarshalError":
        return 400, error.error_message
    return own_status or 500, error.error_message


def beside(headers: Headers, *, accept: bytes = ACCEPT, path: str = "") -> str:
    """The headers that user code shall see beside the body, as a client context; empty where there are none.

    Functions find them in `context.client_context.custom`, models in their own context, applications in the
    head of their request, which goes to `path`.
    """
    told = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in headers.items()
        if name.startswith(PREFIX) and name not in (ACCEPT_LATER, TYPE_LATER)
    }
    wanted = headers.get(accept, b"").decode("latin-1")
    if wanted and wanted != "*/*":
        told["accept"] = wanted
    if path:
        told[PATH_BESIDE] = path
    return msgspec.json.encode({"custom": told}).decode() if told else ""
