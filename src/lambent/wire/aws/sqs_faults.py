"""What SQS answers other than success, and the older names of it that clients still match on.

A fault has a type of the service's model; by the older protocol it had a code, which SDKs go on showing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lambent.core.errors import (
    Forbidden,
    LambentError,
    NotFound,
    PayloadTooLarge,
    PlatformFault,
    QueueFull,
    Unauthenticated,
)
from lambent.wire.aws.faults import Fault, fault_of

OLD: Final = "AWS.SimpleQueueService."
# Codes that are more, or other, than the type.
CODES: Final[Mapping[str, str]] = {
    "QueueDoesNotExist": OLD + "NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
    "BatchEntryIdsNotDistinct": OLD + "BatchEntryIdsNotDistinct",
    "BatchRequestTooLong": OLD + "BatchRequestTooLong",
    "EmptyBatchRequest": OLD + "EmptyBatchRequest",
    "InvalidBatchEntryId": OLD + "InvalidBatchEntryId",
    "MessageNotInflight": OLD + "MessageNotInflight",
    "TooManyEntriesInBatchRequest": OLD + "TooManyEntriesInBatchRequest",
    "UnsupportedOperation": OLD + "UnsupportedOperation",
    "InvalidParameterValueException": "InvalidParameterValue",
    "MissingParameterException": "MissingParameter",
}


def sqs_fault(kind: str, text: str) -> Fault:
    """One of the service's own."""
    return Fault(kind, 400, text, extra={})


def no_queue() -> Fault:
    """There is no queue of this name."""
    return sqs_fault("QueueDoesNotExist", "The specified queue does not exist.")


def bad_value(value: object, parameter: str, reason: str) -> Fault:
    """A parameter that is none of those that may be."""
    return invalid_parameter(f"Value {value} for parameter {parameter} is invalid. Reason: {reason}")


def invalid_parameter(text: str) -> Fault:
    """What cannot be, in the service's sentence."""
    return sqs_fault("InvalidParameterValueException", text)


def missing(parameter: str) -> Fault:
    """A parameter that must be there."""
    return sqs_fault("MissingParameterException", f"The request must contain the parameter {parameter}.")


def bad_receipt(receipt: str) -> Fault:
    """What no receive has ever given."""
    return sqs_fault("ReceiptHandleIsInvalid", f'The input receipt handle "{receipt[:200]}" is not valid.')


def code_of(fault: Fault) -> str:
    """The older code of a fault, and whose fault it is."""
    return f"{CODES.get(fault.kind, fault.kind)};{'Receiver' if fault.http_status >= 500 else 'Sender'}"


def in_its_words(fault: Fault) -> Fault:
    """A fault as SQS calls it, where the door has said it in another service's words."""
    if fault.kind == "TooManyRequestsException":
        return sqs_fault("RequestThrottled", fault.message)
    if fault.kind == "UnknownOperationException":
        return Fault(fault.kind, 404, fault.message, extra={})
    if fault.kind in ("RequestTooLargeException", "RequestEntityTooLargeException"):
        return Fault("RequestEntityTooLargeException", 413, fault.message, extra={})
    if fault.kind == "ServiceException":
        return Fault("InternalFailure", fault.http_status, fault.message, extra={})
    return Fault(fault.kind, fault.http_status, fault.message, extra={})


def sqs_fault_of(error: LambentError) -> Fault:
    """An error of ours, of one entry of a batch or of a whole request, as SQS calls it."""
    match error:
        case Fault():
            return error
        case NotFound():
            return no_queue()
        case QueueFull() if error.code == "in_flight_full":
            return sqs_fault("OverLimit", error.message)
        case QueueFull():
            return sqs_fault("RequestThrottled", error.message)
        case PlatformFault() | Forbidden() | Unauthenticated() | PayloadTooLarge():
            return in_its_words(fault_of(error))
    return invalid_parameter(error.message)
