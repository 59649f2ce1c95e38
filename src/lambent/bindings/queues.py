"""Durable queues of messages: on disk before the sender hears yes, received at least once.

Changes are written in groups. What queues there are, and how much is in each, is known here; messages are in
the store alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from lambent.bindings.box import Box
from lambent.clock import Clock, SteadyClock
from lambent.core import messages as deciding
from lambent.core.errors import Conflict, LambentError, NotFound, QueueFull
from lambent.core.invocation import new_id
from lambent.core.messages import BODY_BYTES_MAX, Message, Order, Receipt
from lambent.storage import queues as store_of
from lambent.storage.groups import Disk, Groups
from lambent.storage.queues import HELD, Answer, Ask, Gone, Moved, Queue, Sent, Share, Shown, Taken, Tries

FORGET_EVERY_S: Final = 60.0
COUNT_MAX: Final = 1_000_000  # of a queue's messages
BYTES_MAX: Final = 4 << 30
QUEUES_MAX: Final = 1000  # of a project
RETRY_AFTER_S: Final = 1.0

log = logging.getLogger(__name__)


class InFlightFull(QueueFull):
    """As many messages of a queue are in flight as may be."""

    code = "in_flight_full"


class Draft(msgspec.Struct, frozen=True):
    """A message to be sent; `delay_s` is its own, None for the queue's."""

    message: Message
    delay_s: int | None = None


class Holder(StrEnum):
    """Who receives. What a server holds is free when it has ended, however that was."""

    CLIENT = ""
    SERVER = HELD


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver would have. Without a time of its own the queue's `visibility_s` holds."""

    count: int = 1
    bytes_max: int = 10 * BODY_BYTES_MAX
    visibility_s: float | None = None
    wait_s: float = 0.0
    holder: Holder = Holder.CLIENT


class Limits(msgspec.Struct, frozen=True):
    """How much may be in one queue."""

    count: int = COUNT_MAX
    size_bytes: int = BYTES_MAX


class Queues:
    """Queues of every project."""

    def __init__(
        self,
        store: store_of.Queues,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        limits: Limits | None = None,
        disk: Disk = asyncio.to_thread,
    ) -> None:
        self._store: Final = store
        self._clock: Final = SteadyClock(clock)  # or a jump would show hidden messages, or hide them for long
        self._disk: Final = disk
        self._tasks: Final = tasks
        self._limits: Final = limits or Limits()
        self._groups: Final = Groups[Ask, Answer](store.together, tasks, disk, size_of=_size_bytes)
        self._boxes: Final[dict[tuple[str, str], Box]] = {}
        self._by_id: Final[dict[int, Box]] = {}
        self._making: Final = asyncio.Lock()
        self._stopping = False

    # What queues there are.

    def find(self, project: str, name: str) -> Queue | None:
        """The queue of that name, or None."""
        box = self._boxes.get((project, name))
        return None if box is None else box.queue

    def all(self, project: str) -> Sequence[Queue]:
        """A project's queues, by name."""
        mine = (box.queue for (owner, _), box in self._boxes.items() if owner == project)
        return sorted(mine, key=lambda queue: queue.name)

    async def create(self, queue: Queue) -> Queue:
        """Raises `Conflict` where the name is taken, `QueueFull` where there are as many as may be."""
        async with self._making:
            if (queue.project, queue.name) in self._boxes:
                raise Conflict(f"there is a queue {queue.name!r}")
            if len(self.all(queue.project)) >= QUEUES_MAX:
                raise QueueFull(f"there are {QUEUES_MAX} queues, the maximum: delete some")
            now_unix_ms = self._clock.unix_ms()
            stamped = msgspec.structs.replace(
                queue, created_unix_ms=now_unix_ms, modified_unix_ms=now_unix_ms
            )
            made = await self._disk(lambda: self._store.put(stamped))
            self._add(made)
            return made

    async def change(self, project: str, name: str, change: Callable[[Queue], Queue]) -> None:
        """Let a queue be what `change` makes of it, one after the other. Raises `NotFound`."""
        async with self._making:
            box = self._box(project, name)
            stamped = msgspec.structs.replace(change(box.queue), modified_unix_ms=self._clock.unix_ms())
            await self._disk(lambda: self._store.put(stamped))
            box.queue = stamped

    async def remove(self, project: str, name: str) -> None:
        """Forget a queue with its messages. Raises `NotFound`."""
        async with self._making:
            box = self._box(project, name)
            # Nothing may be asked for after its end. What was asked for before comes before.
            box.is_gone = True
            del self._boxes[project, name], self._by_id[box.queue.id]
            try:
                await asyncio.shield(self._groups.ask(store_of.Drop(box.queue.id)))
            except LambentError:
                box.is_gone = False
                self._boxes[project, name] = self._by_id[box.queue.id] = box
                raise
            box.close()

    async def share(self, project: str, name: str) -> Share:
        """What is in a queue. Raises `NotFound`."""
        box, now_unix_ms = self._box(project, name), self._clock.unix_ms()
        return await self._disk(lambda: self._store.share(box.queue.id, now_unix_ms=now_unix_ms))

    # What is in them.

    async def send(self, project: str, name: str, drafts: Sequence[Draft]) -> Sequence[Message]:
        """Put messages on disk; as they are stored. Raises `NotFound`, `QueueFull`, `StorageFull`."""
        box, now_unix_ms = self._box(project, name), self._clock.unix_ms()
        self._check_room(box, drafts)
        terms = box.queue.terms
        stored = tuple(
            deciding.sent(draft.message, terms, delay_s=draft.delay_s, now_unix_ms=now_unix_ms)
            for draft in drafts
        )
        asked = self._groups.ask(store_of.Send(queue=box.queue.id, terms=terms, messages=stored))
        # Also where the sender has left meanwhile: what counts is what is on disk.
        asked.add_done_callback(lambda made: self._sent(box, made))
        answer = await asyncio.shield(asked)
        assert isinstance(answer, Sent)
        return answer.messages

    async def receive(self, project: str, name: str, wish: Wish) -> Sequence[Message]:
        """Messages, hidden from others for a while; none where none has come in time.

        Raises `NotFound`, also where the queue goes meanwhile, and `InFlightFull`.
        """
        box = self._box(project, name)
        until_s = self._clock.now_s() + wish.wait_s
        while True:
            seen = box.news
            taken = await self._take(box, wish)
            if taken.messages or self._stopping or self._clock.now_s() >= until_s:
                return taken.messages
            if box.news == seen:  # nothing has come since
                await box.wait(taken.next_unix_ms, until_s)
            if box.is_gone:
                raise _none(name)

    async def delete(self, receipts: Sequence[Receipt]) -> int:
        """Remove what was received, unless somebody else has it by now; how many were removed."""
        removed = 0
        for box, mine in self._by_box(receipts):
            answer = await self._do(store_of.Remove(tuple(mine)))
            assert isinstance(answer, Gone)
            box.grow(-answer.count, -answer.size_bytes)
            removed += answer.count
            if box.queue.terms.order is Order.KEPT:
                box.poke(answer.count)  # what comes next in its group was barred
        return removed

    async def show(self, receipt: Receipt, *, after_s: float, tries: Tries = Tries.COUNTED) -> Shown:
        """Let a message that is in flight be seen `after_s` from now."""
        box = self._by_id.get(receipt.queue)
        if box is None:
            return Shown.NOT_THERE
        now_unix_ms = self._clock.unix_ms()
        visible_unix_ms = now_unix_ms + round(after_s * 1e3)
        answer = await self._do(
            store_of.Show(
                receipt=receipt, visible_unix_ms=visible_unix_ms, now_unix_ms=now_unix_ms, tries=tries
            )
        )
        assert isinstance(answer, Shown)
        if answer is Shown.DONE and after_s <= 0:
            box.poke()
        elif answer is Shown.DONE:
            box.expect(visible_unix_ms)
        return answer

    async def purge(self, project: str, name: str) -> None:
        """Remove every message of a queue. Raises `NotFound`."""
        box = self._box(project, name)
        self._gone(box, await self._do(store_of.Empty(box.queue.id)))

    async def move(self, project: str, name: str, to: str, count: int) -> Moved:
        """Send up to `count` messages anew, to the queue `to` or, if empty, to those that gave them up.

        One transaction, which no limit of a queue stops: the disk has them already. Raises `NotFound`.
        """
        box, now_unix_ms = self._box(project, name), self._clock.unix_ms()
        ids = tuple(new_id() for _ in range(count))
        asked = self._groups.ask(store_of.Move(queue=box.queue, to=to, ids=ids, now_unix_ms=now_unix_ms))
        asked.add_done_callback(lambda made: self._moved(box, made))
        answer = await asyncio.shield(asked)
        assert isinstance(answer, Moved)
        return answer

    def arrived(self, project: str, name: str, count: int, size_bytes: int) -> None:
        """Messages have been stored by somebody else."""
        if (box := self._boxes.get((project, name))) is not None:
            box.grow(count, size_bytes)
            box.poke(count)

    # Its life.

    async def restore(self) -> None:
        """Take up what an earlier server left."""
        now_unix_ms = self._clock.unix_ms()
        await self._disk(lambda: self._store.restore(now_unix_ms=now_unix_ms))
        for queue in await self._disk(self._store.all):
            self._add(queue)
            share = await self.share(queue.project, queue.name)
            self._by_id[queue.id].grow(share.count, share.size_bytes)

    async def run(self) -> None:
        """Forget what is too old, until cancelled. A store that cannot be used now is tried again."""
        while True:
            await asyncio.sleep(FORGET_EVERY_S)
            for box in [*self._by_id.values()]:
                try:
                    await self._forget(box)
                except LambentError as error:
                    log.warning("queue_stands", extra={"queue": box.queue.name, "reason": error.message})

    def pause(self) -> None:
        """Let nobody wait any more. For good: the server is about to stop."""
        self._stopping = True
        for box in self._by_id.values():
            box.close()

    async def _forget(self, box: Box) -> None:
        now_unix_ms = self._clock.unix_ms()
        oldest = deciding.oldest_kept_unix_ms(box.queue.terms, now_unix_ms=now_unix_ms)
        gone = 1
        while gone and not box.is_gone:
            answer = await self._do(store_of.Forget(box.queue.id, oldest, now_unix_ms))
            gone = self._gone(box, answer)

    async def _take(self, box: Box, wish: Wish) -> Taken:
        queue = box.queue
        terms, dead = queue.terms, self._boxes.get((queue.project, queue.terms.dead_letters))
        if dead is None and terms.dead_letters:  # it was removed: then nothing is given up
            terms = msgspec.structs.replace(terms, dead_letters="")
        visibility_s = terms.visibility_s if wish.visibility_s is None else wish.visibility_s
        asked = self._groups.ask(
            store_of.Take(
                queue=queue,
                terms=terms,
                dead_letters=dead.queue.id if dead else 0,
                count=wish.count,
                bytes_max=wish.bytes_max,
                visibility_s=visibility_s,
                mark=wish.holder + new_id(),
                now_unix_ms=self._clock.unix_ms(),
            )
        )
        try:
            answer = await asyncio.shield(asked)
        except asyncio.CancelledError:
            asked.add_done_callback(self._unwanted)
            raise
        assert isinstance(answer, Taken)
        if answer.given_up and dead is not None:
            box.grow(-answer.given_up, -answer.given_up_bytes)
            dead.grow(answer.given_up, answer.given_up_bytes)
            dead.poke(answer.given_up)
        if answer.too_many_in_flight:
            raise InFlightFull(f"too many messages of {queue.name!r} are in flight: delete some first")
        if len(answer.messages) == wish.count:
            box.poke()  # there may be more, for whoever waits
        box.expect(answer.next_unix_ms)
        return answer

    def _unwanted(self, made: asyncio.Future[Answer]) -> None:
        """Who received has left: let others have it."""
        if made.cancelled() or made.exception():
            return
        taken = made.result()
        assert isinstance(taken, Taken)
        for message in taken.messages:
            receipt = Receipt(taken.queue, message.sequence, message.mark)
            self._tasks.create_task(self._take_back(receipt), name="take back")

    async def _take_back(self, receipt: Receipt) -> None:
        try:
            await self.show(receipt, after_s=0, tries=Tries.TAKEN_BACK)
        except LambentError as error:  # then it is seen when its time is over
            log.warning("not_taken_back", extra={"reason": error.message})

    async def _do(self, ask: Ask) -> Answer:
        return await asyncio.shield(self._groups.ask(ask))

    def _sent(self, box: Box, made: asyncio.Future[Answer]) -> None:
        if made.cancelled() or made.exception():
            return
        answer = made.result()
        assert isinstance(answer, Sent)
        self._grown(box, answer)

    def _moved(self, box: Box, made: asyncio.Future[Answer]) -> None:
        if made.cancelled() or made.exception():
            return
        answer = made.result()
        assert isinstance(answer, Moved)
        for queue, sent in answer.sent:
            box.grow(-len(sent.messages), -sum(one.size_bytes for one in sent.messages))
            if (target := self._by_id.get(queue)) is not None:
                self._grown(target, sent)

    def _grown(self, box: Box, answer: Sent) -> None:
        box.grow(answer.count, answer.size_bytes)
        later = [one.visible_unix_ms for one in answer.messages if one.visible_unix_ms > one.sent_unix_ms]
        box.poke(answer.count - len(later))
        if later:
            box.expect(min(later))

    def _gone(self, box: Box, answer: Answer) -> int:
        assert isinstance(answer, Gone)
        box.grow(-answer.count, -answer.size_bytes)
        return answer.count

    def _check_room(self, box: Box, drafts: Sequence[Draft]) -> None:
        size_bytes = sum(draft.message.size_bytes for draft in drafts)
        if box.count + len(drafts) > self._limits.count:
            full = f"{box.count} messages of at most {self._limits.count}"
        elif box.size_bytes + size_bytes > self._limits.size_bytes:
            full = f"{box.size_bytes} bytes of at most {self._limits.size_bytes}"
        else:
            return
        raise QueueFull(f"the queue {box.queue.name!r} has {full}", retry_after_s=RETRY_AFTER_S)

    def _by_box(self, receipts: Sequence[Receipt]) -> Sequence[tuple[Box, list[Receipt]]]:
        mine: dict[int, list[Receipt]] = {}
        for receipt in receipts:
            mine.setdefault(receipt.queue, []).append(receipt)
        return [(box, some) for queue, some in mine.items() if (box := self._by_id.get(queue)) is not None]

    def _add(self, queue: Queue) -> None:
        box = Box(queue, self._clock)
        self._boxes[queue.project, queue.name] = self._by_id[queue.id] = box

    def _box(self, project: str, name: str) -> Box:
        box = self._boxes.get((project, name))
        if box is None:
            raise _none(name)
        return box


def _none(name: str) -> NotFound:
    return NotFound(f"there is no queue {name!r}")


def _size_bytes(ask: Ask) -> int:
    return sum(one.size_bytes for one in ask.messages) if isinstance(ask, store_of.Send) else 0
