"""SQS's requests and answers as types. Values are judged where they are used: it has sentences of its own."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from lambent.wire.aws.faults import Fault
from lambent.wire.typed import from_json

T = TypeVar("T", bound=msgspec.Struct)

Int = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]


class Shape(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """A structure of the service's model."""


class Value(Shape, frozen=True, kw_only=True):
    """An attribute of a message. `binary_value` is in base64."""

    data_type: str = ""
    string_value: str | None = None
    binary_value: str | None = None


class OfQueue(Shape, frozen=True, kw_only=True):
    """DeleteQueue, PurgeQueue, ListQueueTags."""

    queue_url: str = ""


class CreateQueue(Shape, frozen=True, kw_only=True):
    """CreateQueue."""

    queue_name: str = ""
    attributes: dict[str, str] | None = None
    tags: dict[str, str] | None = msgspec.field(default=None, name="tags")


class GetQueueUrl(Shape, frozen=True, kw_only=True):
    """GetQueueUrl."""

    queue_name: str = ""
    queue_owner_aws_account_id: str = msgspec.field(default="", name="QueueOwnerAWSAccountId")


class ListQueues(Shape, frozen=True, kw_only=True):
    """ListQueues, and ListDeadLetterSourceQueues, which has a URL for the prefix."""

    queue_name_prefix: str = ""
    queue_url: str = ""
    next_token: str | None = None
    max_results: Int | None = None


class GetAttributes(Shape, frozen=True, kw_only=True):
    """GetQueueAttributes."""

    queue_url: str = ""
    attribute_names: list[str] | None = None


class SetAttributes(Shape, frozen=True, kw_only=True):
    """SetQueueAttributes."""

    queue_url: str = ""
    attributes: dict[str, str] | None = None


class TagQueue(Shape, frozen=True, kw_only=True):
    """TagQueue and UntagQueue."""

    queue_url: str = ""
    tags: dict[str, str] | None = None
    tag_keys: list[str] | None = None


class Permission(Shape, frozen=True, kw_only=True):
    """AddPermission and RemovePermission."""

    queue_url: str = ""
    label: str = ""
    aws_account_ids: list[str] | None = msgspec.field(default=None, name="AWSAccountIds")
    actions: list[str] | None = None


class SendMessage(Shape, frozen=True, kw_only=True):
    """SendMessage, and one entry of SendMessageBatch, which has an `id` and no URL."""

    queue_url: str = ""
    id: str = ""
    message_body: str | None = None
    delay_seconds: Int | None = None
    message_attributes: dict[str, Value] | None = None
    message_system_attributes: dict[str, Value] | None = None
    message_deduplication_id: str | None = None
    message_group_id: str | None = None


class SendBatch(Shape, frozen=True, kw_only=True):
    """SendMessageBatch."""

    queue_url: str = ""
    entries: list[SendMessage] | None = None


class Receive(Shape, frozen=True, kw_only=True):
    """ReceiveMessage."""

    queue_url: str = ""
    attribute_names: list[str] | None = None
    message_system_attribute_names: list[str] | None = None
    message_attribute_names: list[str] | None = None
    max_number_of_messages: Int | None = None
    visibility_timeout: Int | None = None
    wait_time_seconds: Int | None = None
    receive_request_attempt_id: str | None = None


class OfMessage(Shape, frozen=True, kw_only=True):
    """DeleteMessage, ChangeMessageVisibility, and one entry of a batch of them, which has an `id`, no URL."""

    queue_url: str = ""
    id: str = ""
    receipt_handle: str | None = None
    visibility_timeout: Int | None = None


class OfMessages(Shape, frozen=True, kw_only=True):
    """DeleteMessageBatch and ChangeMessageVisibilityBatch."""

    queue_url: str = ""
    entries: list[OfMessage] | None = None


class StartMove(Shape, frozen=True, kw_only=True):
    """StartMessageMoveTask."""

    source_arn: str = ""
    destination_arn: str = ""
    max_number_of_messages_per_second: Int | None = None


class ListMoves(Shape, frozen=True, kw_only=True):
    """ListMessageMoveTasks."""

    source_arn: str = ""
    max_results: Int | None = None


class CancelMove(Shape, frozen=True, kw_only=True):
    """CancelMessageMoveTask."""

    task_handle: str = ""


class MoveTask(Shape, frozen=True, kw_only=True):
    """One of ListMessageMoveTasks' results. Only one that runs has a handle."""

    task_handle: str | None = None
    status: str
    source_arn: str
    destination_arn: str | None = None
    max_number_of_messages_per_second: int | None = None
    approximate_number_of_messages_moved: int
    approximate_number_of_messages_to_move: int
    failure_reason: str | None = None
    started_timestamp: int


class SentMessage(Shape, frozen=True, kw_only=True):
    """What a sender hears."""

    id: str | None = None
    message_id: str
    md5_of_message_body: str = msgspec.field(name="MD5OfMessageBody")
    md5_of_message_attributes: str | None = msgspec.field(default=None, name="MD5OfMessageAttributes")
    md5_of_message_system_attributes: str | None = msgspec.field(
        default=None, name="MD5OfMessageSystemAttributes"
    )
    sequence_number: str | None = None


class ReceivedMessage(Shape, frozen=True, kw_only=True):
    """What a receiver gets."""

    message_id: str
    receipt_handle: str
    md5_of_body: str = msgspec.field(name="MD5OfBody")
    body: str
    attributes: dict[str, str] | None = None
    md5_of_message_attributes: str | None = msgspec.field(default=None, name="MD5OfMessageAttributes")
    message_attributes: dict[str, dict[str, str]] | None = None


class Failed(Shape, frozen=True, kw_only=True, omit_defaults=False):
    """One entry of a batch that was not done, and why."""

    id: str
    sender_fault: bool
    code: str
    message: str


def read(body: bytes, kind: type[T]) -> T:
    """A request. Raises `Fault` for what is no JSON of its form."""
    try:
        return from_json(body or b"{}", kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Fault("SerializationException", 400, str(error), extra={}) from error
