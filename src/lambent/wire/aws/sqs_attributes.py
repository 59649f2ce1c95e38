"""A queue's attributes, which SQS writes as texts, and our terms that they come to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import msgspec

from lambent.core.messages import DedupScope, Order, Terms
from lambent.wire.aws.names import Place
from lambent.wire.aws.sqs_faults import bad_value, invalid_parameter, sqs_fault
from lambent.wire.typed import from_json

NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
FIFO: Final = ".fifo"
NAME_CHARACTERS_MAX: Final = 80
ARN: Final = re.compile(r"arn:aws[a-z-]*:sqs:([a-z0-9-]*):(\d{12}):([A-Za-z0-9_.-]{1,80})")
# Each with its field and its bounds.
NUMBERS: Final[Mapping[str, tuple[str, int, int]]] = {
    "VisibilityTimeout": ("visibility_s", 0, 43_200),
    "DelaySeconds": ("delay_s", 0, 900),
    "MessageRetentionPeriod": ("retention_s", 60, 1_209_600),
    "MaximumMessageSize": ("message_bytes_max", 1024, 1_048_576),
    "ReceiveMessageWaitTimeSeconds": ("wait_s", 0, 20),
}
OF_FIFO: Final = frozenset({"ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"})
# What is kept as it was written, and given back.
KEPT: Final = frozenset({
    "Policy", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "RedriveAllowPolicy", "SqsManagedSseEnabled",
})  # fmt: skip
COUNTED: Final = (
    "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)  # fmt: skip
ASKABLE: Final = frozenset({
    "All", "FifoQueue", "RedrivePolicy", "QueueArn", "CreatedTimestamp", "LastModifiedTimestamp",
    *NUMBERS, *OF_FIFO, *KEPT, *COUNTED,
})  # fmt: skip


class Redrive(msgspec.Struct, frozen=True):
    """A redrive policy."""

    dead_letter_target_arn: str = msgspec.field(name="deadLetterTargetArn")
    # A number, or a text that is one.
    max_receive_count: Annotated[int, msgspec.Meta(ge=1, le=1000)] | str = msgspec.field(
        name="maxReceiveCount", default=10
    )


class Asked(msgspec.Struct, frozen=True):
    """What attributes come to: terms, and what is only kept."""

    terms: Terms
    extra: dict[str, str]


def queue_arn(place: Place, name: str) -> str:
    """The ARN of a queue."""
    return f"arn:aws:sqs:{place.region}:{place.account}:{name}"


def name_of_arn(arn: str) -> str:
    """The queue that an ARN names; empty where it is none of a queue."""
    match = ARN.fullmatch(arn)
    return match[3] if match else ""


def check_name(name: str, *, is_fifo: bool) -> None:
    """Raise `Fault` for what is no name of a queue."""
    if is_fifo:
        fits = name.endswith(FIFO) and NAME.fullmatch(name.removesuffix(FIFO))
        if not fits or len(name) > NAME_CHARACTERS_MAX:
            raise invalid_parameter(
                "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, "
                "must end with .fifo suffix and be 1 to 80 in length."
            )
    elif not NAME.fullmatch(name):
        raise invalid_parameter(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
        )


def read_attributes(
    told: Mapping[str, str], before: Asked, *, target: Callable[[str], Order | None]
) -> Asked:
    """`before` with these attributes. `target`: the order of a queue of that name, None where there is none.

    Raises `Fault` for an attribute that there is not, and for a value that it cannot have.
    """
    changes: dict[str, Any] = {}
    extra = dict(before.extra)
    is_fifo = before.terms.order is Order.KEPT
    for name, value in told.items():
        if name in NUMBERS:
            field, low, high = NUMBERS[name]
            changes[field] = _number(name, value, low, high)
        elif name == "RedrivePolicy":
            changes |= _redrive(value, before.terms.order, target)
            _keep(extra, name, value)
        elif name in KEPT:
            _keep(extra, name, value)
        elif name in OF_FIFO and is_fifo:
            changes |= _of_fifo(name, value)
            extra[name] = value
        elif name == "FifoQueue":
            if value != ("true" if is_fifo else "false"):
                raise _bad(name, " Reason: Modifying queue type is not supported.")
        else:
            raise sqs_fault("InvalidAttributeName", f"Unknown Attribute {name[:200]}.")
    return Asked(msgspec.structs.replace(before.terms, **changes), extra)


def told_attributes(terms: Terms, extra: Mapping[str, str]) -> dict[str, str]:
    """Attributes as they are given back, but those that are counted."""
    told = {name: str(getattr(terms, field)) for name, (field, _, _) in NUMBERS.items()}
    told["SqsManagedSseEnabled"] = "true"
    if terms.order is Order.KEPT:
        told |= {
            "FifoQueue": "true",
            "ContentBasedDeduplication": "false",
            "DeduplicationScope": "queue",
            "FifoThroughputLimit": "perQueue",
        }
    return {**told, **extra}


def _number(name: str, value: str, low: int, high: int) -> int:
    if not value.isascii() or not value.isdecimal() or not low <= int(value[:10]) <= high:
        raise _bad(name)
    return int(value)


def _of_fifo(name: str, value: str) -> dict[str, Any]:
    match name, value:
        case "ContentBasedDeduplication", "true" | "false":
            return {"dedup_by_content": value == "true"}
        case "DeduplicationScope", "queue" | "messageGroup":
            return {"dedup_scope": DedupScope(value)}
        case "FifoThroughputLimit", "perQueue" | "perMessageGroupId":
            return {}
    raise _bad(name)


def _redrive(value: str, order: Order, target: Callable[[str], Order | None]) -> dict[str, Any]:
    if not value:
        return {"dead_letters": "", "receives_max": 0}
    try:
        policy = from_json(value, Redrive)
        receives_max = int(policy.max_receive_count)
    except (msgspec.DecodeError, ValueError) as error:
        raise _policy(value, "Redrive policy is not a valid JSON map.") from error
    if not 1 <= receives_max <= 1000:
        raise _policy(
            value, "Invalid value for maxReceiveCount: valid values are from 1 to 1000 both inclusive."
        )
    name = name_of_arn(policy.dead_letter_target_arn)
    if not name:
        raise _policy(value, "Invalid value for deadLetterTargetArn.")
    found = target(name)
    if found is None:
        raise _policy(value, "Dead letter target does not exist.")
    if found is not order:
        raise _policy(value, "Dead-letter queue must be same type of queue as the source.")
    return {"dead_letters": name, "receives_max": receives_max}


def _policy(value: str, reason: str) -> Exception:
    return bad_value(value[:500], "RedrivePolicy", reason)


def _keep(extra: dict[str, str], name: str, value: str) -> None:
    if value:
        extra[name] = value
    else:
        extra.pop(name, None)


def _bad(name: str, reason: str = "") -> Exception:
    return sqs_fault("InvalidAttributeValue", f"Invalid value for the parameter {name}.{reason}")
