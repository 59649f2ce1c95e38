"""SQS's operations on messages: sent, received, deleted, shown at another time, one by one and in batches."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from lambent.bindings.queues import Draft, Queues, Wish
from lambent.core.errors import LambentError, NotFound
from lambent.core.invocation import Role, new_id
from lambent.core.messages import Message, Receipt
from lambent.gateway.presence import ClientLeft, Presence
from lambent.gateway.protocols.aws.asked import Asked, Operation
from lambent.gateway.protocols.aws.sqs import answer, named
from lambent.gateway.responses import Reply
from lambent.storage.queues import Queue, Shown
from lambent.wire.aws import sqs as wire
from lambent.wire.aws.faults import Fault
from lambent.wire.aws.sqs import read
from lambent.wire.aws.sqs_attributes import queue_arn
from lambent.wire.aws.sqs_faults import (
    bad_value,
    code_of,
    missing,
    no_queue,
    sqs_fault,
    sqs_fault_of,
)
from lambent.wire.aws.sqs_messages import SYSTEM, checked, receipt_from, received_message, sent_message

ENTRIES_MAX: Final = 10
BATCH_BYTES_MAX: Final = 1_048_576
VISIBILITY_S_MAX: Final = 43_200
WAIT_S_MAX: Final = 20
ENTRY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
# A batch may be as large as its messages, each byte of which JSON may write as six.
REQUEST_BYTES_MAX: Final = 8 * BATCH_BYTES_MAX


class Entry(Protocol):
    """One of a batch."""

    @property
    def id(self) -> str:
        """What the sender knows it by."""


E = TypeVar("E", bound=Entry)
T = TypeVar("T")


class MessageOperations:
    """SendMessage and its kin."""

    def __init__(self, queues: Queues) -> None:
        self._queues: Final = queues

    def operations(self) -> Mapping[str, Operation]:
        """By name."""
        runs = {
            "SendMessage": self._send,
            "SendMessageBatch": self._send_batch,
            "ReceiveMessage": self._receive,
            "DeleteMessage": self._delete,
            "DeleteMessageBatch": self._delete_batch,
            "ChangeMessageVisibility": self._change,
            "ChangeMessageVisibilityBatch": self._change_batch,
        }
        return {
            name: Operation(name=name, run=run, request_bytes_max=REQUEST_BYTES_MAX)
            for name, run in runs.items()
        }

    async def _send(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.SendMessage)
        queue = named(self._queues, asked, wanted.queue_url, Role.INVOKE)
        message = checked(wanted, queue.terms, message_id=new_id(), sender=asked.principal.key_id)
        drafts = [Draft(message, wanted.delay_seconds)]
        try:
            [stored] = await self._queues.send(queue.project, queue.name, drafts)
        except LambentError as error:
            raise sqs_fault_of(error) from error
        return answer(asked, sent_message(wanted, stored, queue.terms))

    async def _send_batch(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.SendBatch)
        queue = named(self._queues, asked, wanted.queue_url, Role.INVOKE)
        entries = _entries(wanted.entries, "SendMessageBatchRequestEntry")
        failed: list[wire.Failed] = []
        good: list[tuple[wire.SendMessage, Message]] = []
        for entry in entries:
            try:
                message = checked(entry, queue.terms, message_id=new_id(), sender=asked.principal.key_id)
            except Fault as error:
                failed.append(_failed(entry.id, error))
            else:
                good.append((entry, message))
        size_bytes = sum(message.size_bytes for _, message in good)
        if size_bytes > BATCH_BYTES_MAX:
            raise sqs_fault(
                "BatchRequestTooLong",
                f"Batch requests cannot be longer than {BATCH_BYTES_MAX} bytes. "
                f"You have sent {size_bytes} bytes.",
            )
        sent = []
        if good:
            sent = await self._sent(queue, good)
        return answer(asked, {"Successful": sent, "Failed": failed})

    async def _sent(
        self, queue: Queue, good: Sequence[tuple[wire.SendMessage, Message]]
    ) -> list[wire.SentMessage]:
        drafts = [Draft(message, entry.delay_seconds) for entry, message in good]
        try:
            stored = await self._queues.send(queue.project, queue.name, drafts)
        except LambentError as error:
            raise sqs_fault_of(error) from error
        return [
            sent_message(entry, message, queue.terms)
            for (entry, _), message in zip(good, stored, strict=True)
        ]

    async def _receive(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.Receive)
        queue = named(self._queues, asked, wanted.queue_url, Role.INVOKE)
        system = [*(wanted.attribute_names or ()), *(wanted.message_system_attribute_names or ())]
        for name in system:
            if name not in SYSTEM:
                raise sqs_fault_of(
                    sqs_fault("InvalidParameterValueException", f"Unknown Attribute {name[:200]}.")
                )
        wish = _wish(wanted, queue)
        receiving = self._queues.receive(queue.project, queue.name, wish)
        try:
            got = await (_while_there(asked.request.client, receiving) if wish.wait_s else receiving)
        except NotFound as error:  # it was deleted meanwhile
            raise no_queue() from error
        except LambentError as error:
            raise sqs_fault_of(error) from error
        told = [
            received_message(
                message,
                Receipt(queue.id, message.sequence, message.mark),
                queue.terms,
                system=system,
                names=wanted.message_attribute_names or (),
                source_arn=queue_arn(asked.place, message.source),
            )
            for message in got
        ]
        return answer(asked, {"Messages": told} if told else {})

    async def _delete(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.OfMessage)
        queue = named(self._queues, asked, wanted.queue_url, Role.INVOKE)
        await self._queues.delete([receipt_from(wanted.receipt_handle, queue.id)])
        return answer(asked)

    async def _delete_batch(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.OfMessages)
        queue = named(self._queues, asked, wanted.queue_url, Role.INVOKE)
        entries = _entries(wanted.entries, "DeleteMessageBatchRequestEntry")

        async def delete(entry: wire.OfMessage) -> None:
            await self._queues.delete([receipt_from(entry.receipt_handle, queue.id)])

        return answer(asked, await _each(entries, delete))

    async def _change(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.OfMessage)
        queue = named(self._queues, asked, wanted.queue_url, Role.INVOKE)
        await self._show(wanted, queue)
        return answer(asked)

    async def _change_batch(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.OfMessages)
        queue = named(self._queues, asked, wanted.queue_url, Role.INVOKE)
        entries = _entries(wanted.entries, "ChangeMessageVisibilityBatchRequestEntry")
        return answer(asked, await _each(entries, lambda entry: self._show(entry, queue)))

    async def _show(self, wanted: wire.OfMessage, queue: Queue) -> None:
        receipt = receipt_from(wanted.receipt_handle, queue.id)
        if wanted.visibility_timeout is None:
            raise missing("VisibilityTimeout")
        after_s = _visibility(wanted.visibility_timeout)
        match await self._queues.show(receipt, after_s=after_s):
            case Shown.NOT_IN_FLIGHT:
                raise sqs_fault("MessageNotInflight", "The message referred to isn't in flight.")
            case Shown.NOT_THERE:
                raise bad_value(
                    wanted.receipt_handle,
                    "ReceiptHandle",
                    "Message does not exist or is not available for visibility timeout change.",
                )


def _wish(wanted: wire.Receive, queue: Queue) -> Wish:
    count = 1 if wanted.max_number_of_messages is None else wanted.max_number_of_messages
    if not 1 <= count <= ENTRIES_MAX:
        raise bad_value(count, "MaxNumberOfMessages", f"Must be between 1 and {ENTRIES_MAX}, if provided.")
    wait_s = queue.terms.wait_s if wanted.wait_time_seconds is None else wanted.wait_time_seconds
    if not 0 <= wait_s <= WAIT_S_MAX:
        raise bad_value(wait_s, "WaitTimeSeconds", f"Must be >= 0 and <= {WAIT_S_MAX}, if provided.")
    visibility_s = None if wanted.visibility_timeout is None else _visibility(wanted.visibility_timeout)
    return Wish(count=count, wait_s=wait_s, visibility_s=visibility_s)


def _visibility(seconds: int) -> int:
    if not 0 <= seconds <= VISIBILITY_S_MAX:
        said = f"VisibilityTimeout must be an integer between 0 and {VISIBILITY_S_MAX}"
        raise bad_value(seconds, "VisibilityTimeout", said)
    return seconds


def _entries(entries: Sequence[E] | None, kind: str) -> Sequence[E]:
    """The entries of a batch, told apart by their ids. Raises `Fault`."""
    if not entries:
        raise sqs_fault("EmptyBatchRequest", f"There should be at least one {kind} in the request.")
    if len(entries) > ENTRIES_MAX:
        raise sqs_fault(
            "TooManyEntriesInBatchRequest",
            f"Maximum number of entries per request are {ENTRIES_MAX}. You have sent {len(entries)}.",
        )
    seen: set[str] = set()
    for entry in entries:
        if not ENTRY_ID.fullmatch(entry.id):
            raise sqs_fault(
                "InvalidBatchEntryId",
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. "
                "It can be at most 80 letters long.",
            )
        if entry.id in seen:
            raise sqs_fault("BatchEntryIdsNotDistinct", f"Id {entry.id} repeated.")
        seen.add(entry.id)
    return entries


async def _each(entries: Sequence[E], do: Callable[[E], Awaitable[None]]) -> Mapping[str, Any]:
    """What became of each entry. They are done at once, so that they share one wait for the disk."""
    found = await asyncio.gather(*(do(entry) for entry in entries), return_exceptions=True)
    done: list[Mapping[str, str]] = []
    failed: list[wire.Failed] = []
    for entry, result in zip(entries, found, strict=True):
        if result is None:
            done.append({"Id": entry.id})
        elif isinstance(result, LambentError):
            failed.append(_failed(entry.id, result))
        else:
            raise result
    return {"Successful": done, "Failed": failed}


def _failed(entry: str, error: LambentError) -> wire.Failed:
    fault = sqs_fault_of(error)
    code, _, whose = code_of(fault).partition(";")
    return wire.Failed(id=entry, sender_fault=whose == "Sender", code=code, message=fault.message)


async def _while_there(client: Presence | None, work: Coroutine[Any, Any, T]) -> T:
    """What comes of `work`, as long as the client waits for it. Raises `ClientLeft`."""
    if client is None:
        return await work
    waiting = asyncio.ensure_future(work)
    client.when_left(functools.partial(_cancel, waiting))
    try:
        return await waiting
    except asyncio.CancelledError:
        if client.left:
            raise ClientLeft from None
        raise
    finally:
        client.forget()


def _cancel(waiting: asyncio.Future[Any]) -> None:
    waiting.cancel()
