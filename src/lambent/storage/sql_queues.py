"""Queues and their messages, in SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, case, delete, exists, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from lambent.core import messages
from lambent.core.messages import DEDUP_MS, Message, Order, Receipt
from lambent.storage.queues import (
    HELD,
    Answer,
    Ask,
    Drop,
    Empty,
    Forget,
    Gone,
    Letter,
    Move,
    Moved,
    Queue,
    Remove,
    Send,
    Sent,
    Share,
    Show,
    Shown,
    Stuck,
    Take,
    Taken,
    Tries,
)
from lambent.storage.sql_database import Database, columns, one
from lambent.storage.tables import MESSAGE_KEYS, MESSAGES, QUEUES

FORGOTTEN_AT_A_TIME: Final = 1000
IN_FLIGHT_MAX: Final = 120_000
ROUNDS_MAX: Final = 100  # of giving up what was received too often, before something else has its turn
# What changes in a message's life. Its body is not written again.
CHANGING: Final = (
    "sent_unix_ms", "visible_unix_ms", "first_received_unix_ms", "receives", "receives_before", "mark",
    "source",
)  # fmt: skip

# Written down once: to build a statement costs more than to run it.
M: Final = MESSAGES.c
FIELDS: Final = [column for column in MESSAGES.c if column.name != "queue"]
VISIBLE: Final = (
    select(*FIELDS)
    .where(
        M.queue == bindparam("of_queue"),
        M.visible_unix_ms <= bindparam("now"),
        M.sent_unix_ms > bindparam("oldest"),
    )
    .limit(bindparam("most"))
)
OTHER: Final = MESSAGES.alias("other")
# Of a group nothing comes while one of it is in flight, or before an earlier one that is not seen yet.
BARRED: Final = exists().where(
    OTHER.c.queue == M.queue,
    OTHER.c.group == M.group,
    OTHER.c.group != "",  # as the partial index is written, so that SQLite uses it
    OTHER.c.visible_unix_ms > bindparam("now"),
    or_(OTHER.c.mark != "", OTHER.c.sequence < M.sequence),
)
NEXT: Final[Mapping[Order, Any]] = {
    Order.LOOSE: VISIBLE.order_by(M.visible_unix_ms, M.sequence),
    Order.KEPT: VISIBLE.where(~BARRED).order_by(M.sequence),
}
HIDDEN: Final = select(func.min(M.visible_unix_ms)).where(
    M.queue == bindparam("of_queue"), M.visible_unix_ms > bindparam("now")
)
IN_FLIGHT: Final = select(func.count()).select_from(
    select(M.sequence)
    .where(M.queue == bindparam("of_queue"), M.visible_unix_ms > bindparam("now"), M.mark != "")
    .limit(IN_FLIGHT_MAX)
    .subquery()
)
CHANGE: Final = (
    update(MESSAGES)
    .where(M.sequence == bindparam("of_sequence"))
    .values({"queue": bindparam("to_queue"), **{name: bindparam(name) for name in CHANGING}})
)
RECEIVED: Final = (M.queue == bindparam("of_queue"), M.sequence == bindparam("of_sequence"))
FOUND: Final = select(*FIELDS).where(*RECEIVED)
REMOVE: Final = delete(MESSAGES).where(*RECEIVED, M.mark == bindparam("of_mark")).returning(M.size_bytes)
KNOWN: Final = select(MESSAGE_KEYS).where(
    MESSAGE_KEYS.c.queue == bindparam("of_queue"),
    MESSAGE_KEYS.c.key == bindparam("of_key"),
    MESSAGE_KEYS.c.until_unix_ms > bindparam("now"),
)


class SqlQueues:
    """Implements `storage.queues.Queues`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, queue: Queue) -> Queue:
        """Insert or replace by id; as it is stored, with its id."""
        values = columns(queue) | {"terms": msgspec.to_builtins(queue.terms)}
        with self._database.writing() as connection:
            if queue.id:
                connection.execute(update(QUEUES).where(QUEUES.c.id == queue.id).values(values))
                return queue
            del values["id"]
            made = connection.execute(insert(QUEUES).values(values)).inserted_primary_key
            assert made is not None
            return msgspec.structs.replace(queue, id=made[0])

    def all(self) -> Sequence[Queue]:
        """Of every project, oldest first."""
        with self._database.reading() as connection:
            return [
                one(row, Queue) for row in connection.execute(select(QUEUES).order_by(QUEUES.c.id)).mappings()
            ]

    def together(self, asks: Sequence[Ask]) -> Sequence[Answer]:
        """Do all of it in one transaction, in this order."""
        with self._database.writing() as connection:
            return [DOES[type(ask)](connection, ask) for ask in asks]

    def share(self, queue: int, *, now_unix_ms: int) -> Share:
        """What is in it now."""
        kind = case(
            (M.visible_unix_ms <= now_unix_ms, "visible"), (M.mark != "", "in_flight"), else_="delayed"
        )
        query = (
            select(kind.label("kind"), func.count().label("count"), func.sum(M.size_bytes).label("bytes"))
            .where(M.queue == queue)
            .group_by("kind")
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return Share(size_bytes=sum(row.bytes for row in rows), **{row.kind: row[1] for row in rows})

    def restore(self, *, now_unix_ms: int) -> None:
        """At start: what an earlier server held is free, and what lies ahead is moved to now."""
        held = (M.mark.startswith(HELD), M.visible_unix_ms > now_unix_ms)
        with self._database.writing() as connection:
            connection.execute(update(MESSAGES).where(*held).values(visible_unix_ms=now_unix_ms))
            newest = connection.execute(select(func.max(M.sent_unix_ms))).scalar_one()
            if newest is None or newest <= now_unix_ms:
                return
            moved = {
                MESSAGES: ("sent_unix_ms", "visible_unix_ms"),
                MESSAGE_KEYS: ("until_unix_ms",),
            }
            for table, names in moved.items():
                by_ms = newest - now_unix_ms
                connection.execute(update(table).values({name: table.c[name] - by_ms for name in names}))


def put_all(connection: Connection, send: Send) -> Sent:
    """Store messages, within somebody's transaction; what came before is not stored again."""
    stored: list[Message] = []
    count = size_bytes = 0
    for message in send.messages:
        key = messages.dedup_key(message, send.terms)
        if key:
            which = {"of_queue": send.queue, "of_key": key, "now": message.sent_unix_ms}
            known = connection.execute(KNOWN, which).mappings().first()
            if known is not None:
                before = {"id": known["message"], "sequence": known["sequence"]}
                stored.append(msgspec.structs.replace(message, **before))
                continue
        values = {**columns(message), "queue": send.queue, "sequence": None}
        made = connection.execute(insert(MESSAGES).values(values)).inserted_primary_key
        assert made is not None
        stored.append(msgspec.structs.replace(message, sequence=made[0]))
        count, size_bytes = count + 1, size_bytes + message.size_bytes
        if key:
            _remember(connection, send.queue, key, stored[-1])
    return Sent(tuple(stored), count, size_bytes)


def put_letter(connection: Connection, letter: Letter) -> None:
    """Store a letter, within somebody's transaction; nothing where there is no such queue."""
    queue = _called(connection, letter.project, letter.queue)
    if queue is None:
        return
    message = messages.sent(letter.message, queue.terms, delay_s=None, now_unix_ms=letter.now_unix_ms)
    put_all(connection, Send(queue=queue.id, terms=queue.terms, messages=(message,)))


def _called(connection: Connection, project: str, name: str) -> Queue | None:
    query = select(QUEUES).where(QUEUES.c.project == project, QUEUES.c.name == name)
    row = connection.execute(query).mappings().first()
    return None if row is None else one(row, Queue)


def _remember(connection: Connection, queue: int, key: str, message: Message) -> None:
    values = {
        "queue": queue,
        "key": key,
        "message": message.id,
        "sequence": message.sequence,
        "until_unix_ms": message.sent_unix_ms + DEDUP_MS,
    }
    statement = insert(MESSAGE_KEYS).values(values)
    connection.execute(statement.on_conflict_do_update(index_elements=["queue", "key"], set_=values))


def _take(connection: Connection, take: Take) -> Taken:
    now, queue = take.now_unix_ms, take.queue.id
    oldest = messages.oldest_kept_unix_ms(take.terms, now_unix_ms=now)
    which = {"of_queue": queue, "now": now, "oldest": oldest, "most": take.count}
    taken: list[Message] = []
    given_up = given_up_bytes = size_bytes = 0
    found: list[Message] = []
    for _ in range(ROUNDS_MAX):
        found = [one(row, Message) for row in connection.execute(NEXT[take.terms.order], which).mappings()]
        over = [one for one in found if messages.is_given_up(one, take.terms)]
        for message in over:
            _change(
                connection,
                take.dead_letters,
                messages.given_up(message, take.terms, take.queue.name, now_unix_ms=now),
            )
        given_up, given_up_bytes = given_up + len(over), given_up_bytes + sum(one.size_bytes for one in over)
        if not over:
            break
        found = []
    if found and connection.execute(IN_FLIGHT, which).scalar_one() >= IN_FLIGHT_MAX:
        return Taken(queue=queue, given_up=given_up, given_up_bytes=given_up_bytes, too_many_in_flight=True)
    for message in found:
        size_bytes += message.size_bytes
        if taken and size_bytes > take.bytes_max:
            break
        got = messages.received(message, mark=take.mark, visibility_s=take.visibility_s, now_unix_ms=now)
        _change(connection, queue, got)
        taken.append(got)
    return Taken(
        queue=queue,
        messages=tuple(taken),
        given_up=given_up,
        given_up_bytes=given_up_bytes,
        next_unix_ms=connection.execute(HIDDEN, which).scalar_one(),
    )


def _change(connection: Connection, queue: int, message: Message) -> None:
    values = {name: getattr(message, name) for name in CHANGING}
    connection.execute(CHANGE, {"of_sequence": message.sequence, "to_queue": queue, **values})


def _remove(connection: Connection, ask: Remove) -> Gone:
    sizes = [
        size
        for receipt in ask.receipts
        for size in connection.execute(REMOVE, _named(receipt) | {"of_mark": receipt.mark}).scalars()
    ]
    return Gone(len(sizes), sum(sizes))


def _show(connection: Connection, ask: Show) -> Shown:
    row = connection.execute(FOUND, _named(ask.receipt)).mappings().first()
    if row is None:
        return Shown.NOT_THERE
    message = one(row, Message)
    is_theirs = message.mark == ask.receipt.mark
    if not is_theirs or not messages.is_in_flight(message, now_unix_ms=ask.now_unix_ms):
        return Shown.NOT_IN_FLIGHT
    receives = message.receives - (ask.tries is Tries.TAKEN_BACK)
    seen = msgspec.structs.replace(message, visible_unix_ms=ask.visible_unix_ms, receives=receives)
    _change(connection, ask.receipt.queue, seen)
    return Shown.DONE


def _move(connection: Connection, ask: Move) -> Moved:
    now, queue = ask.now_unix_ms, ask.queue
    oldest = messages.oldest_kept_unix_ms(queue.terms, now_unix_ms=now)
    which = {"of_queue": queue.id, "now": now, "oldest": oldest, "most": len(ask.ids)}
    found = [one(row, Message) for row in connection.execute(NEXT[queue.terms.order], which).mappings()]
    made: list[tuple[int, Sent]] = []
    for message, message_id in zip(found, ask.ids, strict=False):
        name = ask.to or message.source
        target = _called(connection, queue.project, name) if name else None
        if target is None:
            return Moved(tuple(made), Stuck.NO_QUEUE if name else Stuck.NO_SOURCE)
        anew = messages.moved(message, target.terms, message_id=message_id, now_unix_ms=now)
        _gone(connection, M.sequence == message.sequence)
        made.append(
            (target.id, put_all(connection, Send(queue=target.id, terms=target.terms, messages=(anew,))))
        )
    return Moved(tuple(made))


def _named(receipt: Receipt) -> dict[str, Any]:
    return {"of_queue": receipt.queue, "of_sequence": receipt.sequence}


def _empty(connection: Connection, ask: Empty) -> Gone:
    return _gone(connection, M.queue == ask.queue)


def _drop(connection: Connection, ask: Drop) -> Gone:
    gone = _gone(connection, M.queue == ask.queue)
    connection.execute(delete(QUEUES).where(QUEUES.c.id == ask.queue))
    return gone


def _forget(connection: Connection, ask: Forget) -> Gone:
    connection.execute(
        delete(MESSAGE_KEYS).where(
            MESSAGE_KEYS.c.queue == ask.queue, MESSAGE_KEYS.c.until_unix_ms <= ask.now_unix_ms
        )
    )
    old = select(M.sequence).where(M.queue == ask.queue, M.sent_unix_ms <= ask.sent_unix_ms)
    return _gone(connection, M.sequence.in_(old.order_by(M.sequence).limit(FORGOTTEN_AT_A_TIME)))


def _gone(connection: Connection, which: Any) -> Gone:
    sizes = connection.execute(delete(MESSAGES).where(which).returning(M.size_bytes)).scalars().all()
    return Gone(len(sizes), sum(sizes))


DOES: Final[Mapping[type, Callable[[Connection, Any], Answer]]] = {
    Send: put_all,
    Take: _take,
    Remove: _remove,
    Show: _show,
    Empty: _empty,
    Drop: _drop,
    Forget: _forget,
    Move: _move,
}
