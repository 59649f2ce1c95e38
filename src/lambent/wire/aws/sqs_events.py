"""What AWS Lambda invokes a function with for a queue's messages, and what the function's answer says."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from lambent.core.messages import Message, Receipt, Terms
from lambent.wire.aws.names import Place
from lambent.wire.aws.sqs_attributes import ARN, queue_arn
from lambent.wire.aws.sqs_messages import md5_of, md5_of_kept, receipt_text, system_attributes
from lambent.wire.typed import from_json


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A message as a function gets it."""

    message_id: str
    receipt_handle: str
    body: str
    attributes: dict[str, str]
    message_attributes: dict[str, dict[str, Any]]
    md5_of_message_attributes: str | None  # null where there are none (recorded)
    md5_of_body: str
    event_source: str = "aws:sqs"
    event_source_arn: str = msgspec.field(name="eventSourceARN")
    aws_region: str


class Failure(msgspec.Struct, frozen=True, rename="camel"):
    """A message that a function did not do."""

    item_identifier: str


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """A function's answer where it tells which messages it did not do."""

    batch_item_failures: list[Failure] | None = None


_answers: Final = msgspec.json.Decoder(Answer | None)


def record_of(message: Message, receipt: Receipt, terms: Terms, arn: str) -> Record:
    """A message of the queue that has this ARN, as a function gets it."""
    match = ARN.fullmatch(arn)
    place = Place(match[1], match[2]) if match else Place()
    return Record(
        message_id=message.id,
        receipt_handle=receipt_text(receipt),
        body=message.body,
        attributes=system_attributes(message, terms, source_arn=queue_arn(place, message.source)),
        message_attributes={name: _attribute(one) for name, one in message.attributes.items()},
        md5_of_message_attributes=md5_of_kept(message.attributes),
        md5_of_body=md5_of(message.body.encode()),
        event_source_arn=arn,
        aws_region=place.region,
    )


def event_of(records: Sequence[Record]) -> bytes:
    """The event that carries a batch."""
    return msgspec.json.encode({"Records": records})


def matchable(record: Record) -> dict[str, Any]:
    """A record as patterns look at it: a body that is JSON is looked into."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    try:
        body = from_json(record.body, Any)
    except msgspec.DecodeError:
        return fields
    return {**fields, "body": body if isinstance(body, dict) else record.body}


def undone(answer: bytes, ids: Sequence[str]) -> frozenset[str]:
    """The messages of a batch that were not done, by a function that reports them.

    An answer that is none of the kind, or names a message that is not of the batch, means that all failed.
    Source: AWS Lambda Developer Guide, "Implementing partial batch responses".
    """
    try:
        told = _answers.decode(answer or b"null")
    except (msgspec.DecodeError, RecursionError):
        return frozenset(ids)
    failures = told.batch_item_failures if told is not None else None
    named = {one.item_identifier for one in failures or ()}
    return frozenset(ids) if named - {*ids} else frozenset(named)


def _attribute(kept: Mapping[str, str]) -> dict[str, Any]:
    """In this form names are in camel case, and that there are no lists of values is said."""
    told: dict[str, Any] = {"dataType": kept["DataType"], "stringListValues": [], "binaryListValues": []}
    if "BinaryValue" in kept:
        return {"binaryValue": _canonical(kept["BinaryValue"]), **told}
    return {"stringValue": kept["StringValue"], **told}


def _canonical(text: str) -> str:
    return base64.b64encode(base64.b64decode(text)).decode()
