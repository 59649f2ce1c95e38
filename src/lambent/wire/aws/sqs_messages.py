"""SQS's messages: what may be sent, the digests that clients check, and what a receiver is told."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from lambent.core.messages import Message, Order, Receipt, Terms
from lambent.wire.aws.sqs import ReceivedMessage, SendMessage, SentMessage, Value
from lambent.wire.aws.sqs_faults import bad_receipt, bad_value, invalid_parameter, missing, sqs_fault

ATTRIBUTES_MAX: Final = 10
DELAY_S_MAX: Final = 900
NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,256}")
RESERVED: Final = re.compile(r"(?i)(aws|amazon)\..*|\..*|.*\.|.*\.\..*")
KINDS: Final = re.compile(r"(String|Number|Binary)(\..{1,256})?", re.DOTALL)
NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
TOKEN: Final = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")
# What XML cannot carry, in which this service was first spoken to.
FORBIDDEN: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
TRACE: Final = "AWSTraceHeader"
SYSTEM: Final = frozenset({
    "All", "SenderId", "SentTimestamp", "ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp",
    "SequenceNumber", "MessageDeduplicationId", "MessageGroupId", TRACE, "DeadLetterQueueSourceArn",
})  # fmt: skip
RECEIPT: Final = re.compile(r"(\d{1,18}):(\d{1,18}):(s?[0-9a-f-]{36})")


def checked(told: SendMessage, terms: Terms, *, message_id: str, sender: str) -> Message:
    """The message that is to be sent. Raises `Fault` where it may not be."""
    body = told.message_body
    if not body:
        raise missing("MessageBody")
    if FORBIDDEN.search(body):
        raise sqs_fault(
            "InvalidMessageContents",
            "Invalid characters found. Valid unicode characters are "
            "#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF",
        )
    attributes = told.message_attributes or {}
    _check_attributes(attributes)
    size_bytes = len(body.encode()) + sum(_size_bytes(name, one) for name, one in attributes.items())
    if size_bytes > terms.message_bytes_max:
        raise invalid_parameter(
            "One or more parameters are invalid. "
            f"Reason: Message must be shorter than {terms.message_bytes_max} bytes."
        )
    _check_order(told, terms)
    trace = (told.message_system_attributes or {}).get(TRACE)
    return Message(
        id=message_id,
        body=body,
        sender=sender,
        trace=trace.string_value or "" if trace else "",
        attributes={name: _kept(one) for name, one in attributes.items()},
        size_bytes=size_bytes,
        group=told.message_group_id or "",
        dedup=told.message_deduplication_id or "",
    )


def sent_message(told: SendMessage, message: Message, terms: Terms) -> SentMessage:
    """What the sender of a message hears."""
    return SentMessage(
        id=told.id or None,
        message_id=message.id,
        md5_of_message_body=md5_of(message.body.encode()),
        md5_of_message_attributes=md5_of_attributes(told.message_attributes or {}),
        md5_of_message_system_attributes=md5_of_attributes(told.message_system_attributes or {}),
        sequence_number=sequence_number(message) if terms.order is Order.KEPT else None,
    )


def received_message(
    message: Message,
    receipt: Receipt,
    terms: Terms,
    *,
    system: Iterable[str],
    names: Sequence[str],
    source_arn: str,
) -> ReceivedMessage:
    """What its receiver gets: of its attributes those that it asked for."""
    wanted = frozenset(system)
    told = system_attributes(message, terms, source_arn=source_arn)
    if "All" not in wanted:
        told = {name: one for name, one in told.items() if name in wanted}
    chosen = {name: one for name, one in message.attributes.items() if _is_asked(name, names)}
    return ReceivedMessage(
        message_id=message.id,
        receipt_handle=receipt_text(receipt),
        md5_of_body=md5_of(message.body.encode()),
        body=message.body,
        attributes=told or None,
        md5_of_message_attributes=md5_of_kept(chosen),
        message_attributes=chosen or None,
    )


def system_attributes(message: Message, terms: Terms, *, source_arn: str) -> dict[str, str]:
    """What the queue itself knows of a message. `source_arn`: of the queue that gave it up."""
    told = {
        "SenderId": message.sender,
        "SentTimestamp": str(message.sent_unix_ms),
        "ApproximateReceiveCount": str(message.receives),
        "ApproximateFirstReceiveTimestamp": str(message.first_received_unix_ms),
        TRACE: message.trace,
        "MessageGroupId": message.group,
        "DeadLetterQueueSourceArn": source_arn if message.source else "",
    }
    if terms.order is Order.KEPT:
        told |= {"SequenceNumber": sequence_number(message), "MessageDeduplicationId": message.dedup}
    return {name: one for name, one in told.items() if one}


def sequence_number(message: Message) -> str:
    """The place of a message, as wide as AWS writes it."""
    return f"{message.sequence:020}"


def md5_of(content: bytes) -> str:
    """As clients check that what came is what was sent."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def md5_of_attributes(attributes: Mapping[str, Value]) -> str | None:
    """Of all attributes, by the service's own encoding; None where there is none.

    Source: Amazon SQS Developer Guide, "Calculating the MD5 message digest for message attributes".
    """
    if not attributes:
        return None
    encoded = bytearray()
    for name in sorted(attributes):
        one = attributes[name]
        encoded += _with_length(name.encode()) + _with_length(one.data_type.encode())
        if one.data_type.startswith("Binary"):
            encoded += b"\x02" + _with_length(_binary(one))
        else:
            encoded += b"\x01" + _with_length((one.string_value or "").encode())
    return md5_of(bytes(encoded))


def receipt_text(receipt: Receipt) -> str:
    """A receipt as clients keep it."""
    return base64.b64encode(f"{receipt.queue}:{receipt.sequence}:{receipt.mark}".encode()).decode()


def receipt_from(text: str | None, queue: int) -> Receipt:
    """What `receipt_text` wrote, for a queue. Raises `Fault`."""
    if not text:
        raise missing("ReceiptHandle")
    try:
        match = RECEIPT.fullmatch(base64.b64decode(text, validate=True).decode())
    except (binascii.Error, ValueError):
        match = None
    if match is None or int(match[1]) != queue:
        raise bad_receipt(text)
    return Receipt(int(match[1]), int(match[2]), match[3])


def _check_order(told: SendMessage, terms: Terms) -> None:
    delay_s, group, dedup = told.delay_seconds, told.message_group_id, told.message_deduplication_id
    if delay_s is not None and not 0 <= delay_s <= DELAY_S_MAX:
        raise bad_value(delay_s, "DelaySeconds", f"DelaySeconds must be >= 0 and <= {DELAY_S_MAX}.")
    for parameter, value in (("MessageGroupId", group), ("MessageDeduplicationId", dedup)):
        if value is not None and not TOKEN.fullmatch(value):
            said = (
                f"{parameter} can only include alphanumeric and punctuation characters. 1 to 128 in length."
            )
            raise bad_value(value[:200], parameter, said)
    if terms.order is Order.LOOSE:
        if dedup is not None:
            said = "The request includes a parameter that is not valid for this queue type."
            raise bad_value(dedup, "MessageDeduplicationId", said)
        return
    if delay_s:
        said = "The request include parameter that is not valid for this queue type."
        raise bad_value(delay_s, "DelaySeconds", said)
    if group is None:
        raise missing("MessageGroupId")
    if dedup is None and not terms.dedup_by_content:
        raise invalid_parameter(
            "The queue should either have ContentBasedDeduplication enabled or "
            "MessageDeduplicationId provided explicitly"
        )


def _check_attributes(attributes: Mapping[str, Value]) -> None:
    if len(attributes) > ATTRIBUTES_MAX:
        raise invalid_parameter(
            f"Number of message attributes [{len(attributes)}] exceeds the allowed maximum "
            f"[{ATTRIBUTES_MAX}]."
        )
    for name, one in attributes.items():
        if not NAME.fullmatch(name) or RESERVED.fullmatch(name):
            raise invalid_parameter(f"The message attribute name '{name[:256]}' is invalid.")
        if not KINDS.fullmatch(one.data_type):
            raise invalid_parameter(
                f"The message attribute '{name}' has an invalid message attribute type, the set of supported "
                "type prefixes is Binary, Number, and String."
            )
        _check_value(name, one)


def _check_value(name: str, one: Value) -> None:
    is_binary = one.data_type.startswith("Binary")
    if not (one.binary_value if is_binary else one.string_value):
        kind = "binary" if is_binary else "string"
        raise invalid_parameter(
            f"The message attribute '{name}' must contain a non-empty message attribute value of type "
            f"'{kind}'."
        )
    if is_binary:
        _binary(one)
    elif FORBIDDEN.search(one.string_value or ""):
        raise invalid_parameter(f"The message attribute '{name}' contains invalid characters.")
    elif one.data_type.startswith("Number") and not NUMBER.fullmatch(one.string_value or ""):
        raise invalid_parameter(f"Can't cast the value of message attribute '{name}' to a number.")


def _binary(one: Value) -> bytes:
    try:
        return base64.b64decode(one.binary_value or "", validate=True)
    except binascii.Error as error:
        raise invalid_parameter("The value of a binary message attribute is not in base64.") from error


def _kept(one: Value) -> dict[str, str]:
    if one.data_type.startswith("Binary"):
        return {"DataType": one.data_type, "BinaryValue": one.binary_value or ""}
    return {"DataType": one.data_type, "StringValue": one.string_value or ""}


def md5_of_kept(attributes: Mapping[str, Mapping[str, str]]) -> str | None:
    """The same of attributes as they are kept with a message."""
    return md5_of_attributes({name: _value(one) for name, one in attributes.items()})


def _value(kept: Mapping[str, str]) -> Value:
    return Value(
        data_type=kept["DataType"],
        string_value=kept.get("StringValue"),
        binary_value=kept.get("BinaryValue"),
    )


def _size_bytes(name: str, one: Value) -> int:
    value = _binary(one) if one.data_type.startswith("Binary") else (one.string_value or "").encode()
    return len(name.encode()) + len(one.data_type.encode()) + len(value)


def _with_length(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _is_asked(name: str, names: Sequence[str]) -> bool:
    return any(
        asked in ("All", ".*", name) or (asked.endswith(".*") and name.startswith(asked[:-1]))
        for asked in names
    )
