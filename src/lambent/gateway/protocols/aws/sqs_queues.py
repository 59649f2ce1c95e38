"""SQS's operations on queues themselves: made, found, listed, changed, emptied, tagged, deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from lambent.bindings.queues import Queues
from lambent.core.errors import Conflict, NotFound, QueueFull
from lambent.core.invocation import Role
from lambent.core.messages import Order, Terms
from lambent.gateway.protocols.aws.asked import Asked, Operation
from lambent.gateway.protocols.aws.sqs import answer, named, url_of
from lambent.gateway.responses import Reply
from lambent.storage.queues import Queue
from lambent.wire.aws import sqs as wire
from lambent.wire.aws.sqs import read
from lambent.wire.aws.sqs_attributes import (
    ASKABLE,
    COUNTED,
    check_name,
    queue_arn,
    read_attributes,
    told_attributes,
)
from lambent.wire.aws.sqs_attributes import Asked as AskedFor
from lambent.wire.aws.sqs_faults import bad_value, missing, no_queue, sqs_fault

Run = Callable[[Asked], Awaitable[Reply]]

LISTED_MAX: Final = 1000
TAGS_MAX: Final = 50


class QueueOperations:
    """CreateQueue and its kin."""

    def __init__(self, queues: Queues) -> None:
        self._queues: Final = queues

    def operations(self) -> Mapping[str, Operation]:
        """By name."""
        runs = {
            "CreateQueue": self._create,
            "GetQueueUrl": self._url,
            "ListQueues": self._list,
            "ListDeadLetterSourceQueues": self._sources,
            "DeleteQueue": self._delete,
            "PurgeQueue": self._purge,
            "GetQueueAttributes": self._attributes,
            "SetQueueAttributes": self._set,
            "TagQueue": self._tag,
            "UntagQueue": self._untag,
            "ListQueueTags": self._tags,
        }
        return {name: Operation(name=name, run=_told_of_its_end(run)) for name, run in runs.items()}

    async def _create(self, asked: Asked) -> Reply:
        asked.principal.require(Role.DEPLOY)
        wanted = read(asked.body, wire.CreateQueue)
        if not wanted.queue_name:
            raise missing("QueueName")
        told = wanted.attributes or {}
        is_fifo = told.get("FifoQueue") == "true"
        if "FifoQueue" in told and not is_fifo:
            raise sqs_fault("InvalidAttributeName", "Unknown Attribute FifoQueue.")
        check_name(wanted.queue_name, is_fifo=is_fifo)
        project, name = asked.principal.project, wanted.queue_name
        before = self._queues.find(project, name)
        if before is not None:
            self._check_same(before, told)
            return answer(asked, {"QueueUrl": url_of(asked, name)})
        terms = Terms(order=Order.KEPT if is_fifo else Order.LOOSE)
        made = self._read(project, told, AskedFor(terms, {}))
        queue = Queue(
            project=project, name=name, terms=made.terms, extra=made.extra, tags=_tags(wanted.tags or {})
        )
        try:
            await self._queues.create(queue)
        except Conflict:  # somebody else was quicker
            return await self._create(asked)
        except QueueFull as error:
            raise sqs_fault("RequestThrottled", error.message) from error
        return answer(asked, {"QueueUrl": url_of(asked, name)})

    async def _url(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.GetQueueUrl)
        if not wanted.queue_name:
            raise missing("QueueName")
        if wanted.queue_owner_aws_account_id not in ("", asked.place.account):
            raise no_queue()
        queue = named(self._queues, asked, wanted.queue_name, Role.READ)
        return answer(asked, {"QueueUrl": url_of(asked, queue.name)})

    async def _list(self, asked: Asked) -> Reply:
        asked.principal.require(Role.READ)
        wanted = read(asked.body, wire.ListQueues)
        names = [
            queue.name
            for queue in self._queues.all(asked.principal.project)
            if queue.name.startswith(wanted.queue_name_prefix)
        ]
        urls, more = _page(asked, names, wanted)
        told = {"QueueUrls": urls} if urls else {}
        return answer(asked, told | ({"NextToken": more} if more else {}))

    async def _sources(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.ListQueues)
        dead = named(self._queues, asked, wanted.queue_url, Role.READ)
        names = [
            queue.name
            for queue in self._queues.all(asked.principal.project)
            if queue.terms.dead_letters == dead.name
        ]
        urls, more = _page(asked, names, wanted)
        return answer(asked, {"queueUrls": urls} | ({"NextToken": more} if more else {}))

    async def _delete(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.OfQueue)
        queue = named(self._queues, asked, wanted.queue_url, Role.DEPLOY)
        await self._queues.remove(queue.project, queue.name)
        return answer(asked)

    async def _purge(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.OfQueue)
        queue = named(self._queues, asked, wanted.queue_url, Role.DEPLOY)
        await self._queues.purge(queue.project, queue.name)
        return answer(asked)

    async def _attributes(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.GetAttributes)
        queue = named(self._queues, asked, wanted.queue_url, Role.READ)
        names = wanted.attribute_names or []
        for name in names:
            if name not in ASKABLE:
                raise sqs_fault("InvalidAttributeName", f"Unknown Attribute {name[:200]}.")
        told = told_attributes(queue.terms, queue.extra) | {
            "QueueArn": queue_arn(asked.place, queue.name),
            "CreatedTimestamp": str(queue.created_unix_ms // 1000),
            "LastModifiedTimestamp": str(queue.modified_unix_ms // 1000),
        }
        if {"All", *COUNTED} & {*names}:
            share = await self._queues.share(queue.project, queue.name)
            counts = (share.visible, share.in_flight, share.delayed)
            told |= {name: str(count) for name, count in zip(COUNTED, counts, strict=True)}
        if "All" not in names:
            told = {name: value for name, value in told.items() if name in names}
        return answer(asked, {"Attributes": told} if told else {})

    async def _set(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.SetAttributes)
        queue = named(self._queues, asked, wanted.queue_url, Role.DEPLOY)
        if wanted.attributes is None:
            raise missing("Attributes")
        attributes = wanted.attributes

        def change(now: Queue) -> Queue:
            changed = self._read(now.project, attributes, AskedFor(now.terms, now.extra))
            return msgspec.structs.replace(now, terms=changed.terms, extra=changed.extra)

        return await self._changed(asked, queue, change)

    async def _tag(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.TagQueue)
        queue = named(self._queues, asked, wanted.queue_url, Role.DEPLOY)
        if not wanted.tags:
            raise missing("Tags")
        added = wanted.tags
        return await self._changed(
            asked, queue, lambda now: msgspec.structs.replace(now, tags=_tags({**now.tags, **added}))
        )

    async def _untag(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.TagQueue)
        queue = named(self._queues, asked, wanted.queue_url, Role.DEPLOY)
        if not wanted.tag_keys:
            raise missing("TagKeys")
        unwanted = frozenset(wanted.tag_keys)

        def change(now: Queue) -> Queue:
            left = {name: value for name, value in now.tags.items() if name not in unwanted}
            return msgspec.structs.replace(now, tags=left)

        return await self._changed(asked, queue, change)

    async def _tags(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.OfQueue)
        queue = named(self._queues, asked, wanted.queue_url, Role.READ)
        return answer(asked, {"Tags": queue.tags} if queue.tags else {})

    async def _changed(self, asked: Asked, queue: Queue, change: Callable[[Queue], Queue]) -> Reply:
        await self._queues.change(queue.project, queue.name, change)
        return answer(asked)

    def _read(self, project: str, told: Mapping[str, str], before: AskedFor) -> AskedFor:
        def target(name: str) -> Order | None:
            found = self._queues.find(project, name)
            return None if found is None else found.terms.order

        return read_attributes(told, before, target=target)

    def _check_same(self, queue: Queue, told: Mapping[str, str]) -> None:
        """To make a queue again as it is changes nothing; as another it is refused."""
        before = AskedFor(queue.terms, queue.extra)
        wanted = self._read(queue.project, told, before)
        if wanted != before:
            there, new = (
                told_attributes(before.terms, before.extra),
                told_attributes(wanted.terms, wanted.extra),
            )
            other = next((name for name in told if there.get(name) != new.get(name)), "RedrivePolicy")
            raise sqs_fault(
                "QueueNameExists",
                f"A queue already exists with the same name and a different value for attribute {other}",
            )


def _told_of_its_end(run: Run) -> Run:
    """The same where a queue may be deleted between being found and being asked."""

    async def told(asked: Asked) -> Reply:
        try:
            return await run(asked)
        except NotFound as error:
            raise no_queue() from error

    return told


def _page(asked: Asked, names: Sequence[str], wanted: wire.ListQueues) -> tuple[list[str], str | None]:
    """The URLs of one page, and what the next begins after; all where no size is given, as on AWS."""
    size = wanted.max_results
    if size is not None and not 1 <= size <= LISTED_MAX:
        raise bad_value(size, "MaxResults", f"Must be an integer from 1 to {LISTED_MAX}.")
    rest = [name for name in names if name > (wanted.next_token or "")]
    part = rest[: size or LISTED_MAX]
    more = part[-1] if size is not None and len(rest) > len(part) else None
    return [url_of(asked, name) for name in part], more


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    if len(tags) > TAGS_MAX:
        raise bad_value(len(tags), "Tags", f"A queue has at most {TAGS_MAX} tags.")
    return {**tags}
