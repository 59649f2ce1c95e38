"""Asynchronous invocations, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Select, Table, bindparam, case, delete, exists, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from lambent.storage.sql_database import Database, columns, one
from lambent.storage.sql_queues import put_letter
from lambent.storage.tables import DELIVERIES, TICKETS
from lambent.storage.tickets import (
    KEY_KEPT_S,
    OPEN,
    Change,
    Moved,
    Share,
    Ticket,
    TicketState,
)

FORGOTTEN_AT_A_TIME: Final = 1000
# What changes in a ticket's life. Its body, which may be large, is not written again.
CHANGING: Final = (
    "state", "attempts", "due_unix_ms", "error", "result", "result_type", "ended_unix_ms", "forget_unix_ms",
)  # fmt: skip
KEPT_FINAL: Final = (TicketState.SUCCEEDED, TicketState.DEAD, TicketState.CANCELLED)
EMPTIED: Final = {
    "state": TicketState.FORGOTTEN.value, "body": b"", "result": b"", "error": "", "client_context": "",
    "trace": "", "called": "", "face": "",
    "sticky": "",
}  # fmt: skip

# Written down once: to build a statement costs more than to run it.
INSERT: Final = insert(TICKETS).on_conflict_do_nothing(index_elements=["id"])
UPDATE: Final = (
    update(TICKETS)
    .where(
        TICKETS.c.id == bindparam("of_id"),
        TICKETS.c.project == bindparam("of_project"),
        TICKETS.c.state == bindparam("of_state"),
    )
    .values({name: bindparam(name) for name in CHANGING})
)
UPDATE_AND_EMPTY: Final = UPDATE.values(body=b"")  # its body is not needed any more
TELL: Final = insert(DELIVERIES)
EARLIER: Final = TICKETS.alias("earlier")
BARRED: Final = exists().where(
    EARLIER.c.project == TICKETS.c.project,
    EARLIER.c.deployment == TICKETS.c.deployment,
    EARLIER.c.order_key == TICKETS.c.order_key,
    # As the partial index is written, so that SQLite uses it.
    EARLIER.c.order_key != "",
    EARLIER.c.state.in_(OPEN),
    EARLIER.c.sequence < TICKETS.c.sequence,
)
DUE: Final = (
    select(*(column for column in TICKETS.c if column.name != "sequence"))
    .where(
        TICKETS.c.project == bindparam("of_project"),
        TICKETS.c.deployment == bindparam("of_deployment"),
        TICKETS.c.state == TicketState.QUEUED,
        TICKETS.c.due_unix_ms <= bindparam("now"),
        or_(TICKETS.c.order_key == "", ~BARRED),
    )
    .order_by(TICKETS.c.due_unix_ms, TICKETS.c.sequence)
    .limit(bindparam("most"))
)


class SqlTickets:
    """The durable queue; implements `storage.tickets.Tickets`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def change(self, changes: Sequence[Change]) -> Sequence[bool]:
        """Make changes in one transaction; which of them were made, as their tickets were as expected."""
        try:
            with self._database.writing() as connection:
                _change_all(connection, changes)
            return [True] * len(changes)
        except _NotAll:
            with self._database.writing() as connection:
                return [_change(connection, change) for change in changes]

    def find(self, project: str, ticket: str) -> Ticket | None:
        """The ticket of that id, or None."""
        query = _tickets().where(TICKETS.c.project == project, TICKETS.c.id == ticket)
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else one(row, Ticket)

    def due(
        self, project: str, deployment: str, *, now_unix_ms: int, limit: int, bytes_max: int
    ) -> Sequence[Ticket]:
        """Queued tickets whose time has come, longest due first, without those that another's order key bars.

        Of those with one order key only the first that has not ended is told, when its own time has come. At
        most `limit`, and none more once their bodies have `bytes_max`.
        """
        found: list[Ticket] = []
        size_bytes = 0
        which = {"of_project": project, "of_deployment": deployment, "now": now_unix_ms, "most": limit}
        with self._database.reading() as connection:
            for row in connection.execute(DUE, which).mappings():
                found.append(one(row, Ticket))
                size_bytes += len(found[-1].body)
                if size_bytes >= bytes_max:
                    break
        return found

    def restore(self, *, now_unix_ms: int) -> int:
        """At start: what was running is queued again; returns how many. What lies ahead is moved to now."""
        again = update(TICKETS).where(TICKETS.c.state == TicketState.RUNNING).values(state=TicketState.QUEUED)
        with self._database.writing() as connection:
            if (ahead_ms := _newest(connection) - now_unix_ms) > 0:
                _move_back(connection, ahead_ms)
            return connection.execute(again).rowcount

    def shares(self) -> Sequence[Share]:
        """What each deployment has in the queue; none for those that have nothing."""
        is_open, states = TICKETS.c.state.in_(OPEN), (*OPEN, TicketState.DEAD)
        query = (
            select(
                TICKETS.c.project,
                TICKETS.c.deployment,
                func.sum(case((is_open, 1), else_=0)).label("open"),
                func.sum(case((is_open, func.length(TICKETS.c.body)), else_=0)).label("open_bytes"),
                func.sum(case((is_open, 0), else_=1)).label("dead"),
            )
            .where(TICKETS.c.state.in_(states))
            .group_by(TICKETS.c.project, TICKETS.c.deployment)
        )
        with self._database.reading() as connection:
            return [one(row, Share) for row in connection.execute(query).mappings()]

    def forget(self, *, now_unix_ms: int, results_bytes_max: int) -> int:
        """Forget final ones whose time is over, and the oldest results over a size; returns how many."""
        over = select(TICKETS.c.id).where(
            TICKETS.c.state.in_(KEPT_FINAL), TICKETS.c.forget_unix_ms <= now_unix_ms
        )
        key_over = now_unix_ms - int(KEY_KEPT_S * 1e3)
        gone = select(TICKETS.c.id).where(
            TICKETS.c.state == TicketState.FORGOTTEN,
            or_(TICKETS.c.keyed.is_(False), TICKETS.c.created_unix_ms <= key_over),
        )
        with self._database.writing() as connection:
            forgotten = _empty(connection, over.limit(FORGOTTEN_AT_A_TIME))
            forgotten += _empty(connection, _oldest_over(results_bytes_max).limit(FORGOTTEN_AT_A_TIME))
            deleted = delete(TICKETS).where(TICKETS.c.id.in_(gone.limit(FORGOTTEN_AT_A_TIME)))
            return forgotten + connection.execute(deleted).rowcount


class SqlDeadLetters:
    """What could not be done; implements `storage.tickets.DeadLetters`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, project: str, deployment: str, *, after: str, limit: int) -> Sequence[Ticket]:
        """Oldest first, behind the one with the id `after`, without their bodies and results."""
        fields = [column for column in TICKETS.c if column.name not in ("sequence", "body", "result")]
        query = (
            select(*fields, func.zeroblob(0).label("body"), func.zeroblob(0).label("result"))
            .where(*_of(project, deployment, TicketState.DEAD))
            .order_by(TICKETS.c.sequence)
            .limit(limit)
        )
        if after:
            place = select(TICKETS.c.sequence).where(TICKETS.c.id == after, TICKETS.c.project == project)
            query = query.where(TICKETS.c.sequence > func.coalesce(place.scalar_subquery(), 0))
        with self._database.reading() as connection:
            return [one(row, Ticket) for row in connection.execute(query).mappings()]

    def redrive(self, project: str, deployment: str, *, ticket: str, now_unix_ms: int) -> Moved:
        """Queue one, or all where `ticket` is empty, as if just accepted; returns how many."""
        again = {
            "state": TicketState.QUEUED.value,
            "attempts": 0,
            "due_unix_ms": now_unix_ms,
            "queued_unix_ms": now_unix_ms,
            "ended_unix_ms": None,
            "forget_unix_ms": None,
            "result": b"",
        }
        return self._all_or_one(project, deployment, ticket, again)

    def purge(self, project: str, deployment: str, *, ticket: str, now_unix_ms: int) -> Moved:
        """Forget one, or all where `ticket` is empty; returns how many."""
        return self._all_or_one(project, deployment, ticket, {**EMPTIED, "forget_unix_ms": now_unix_ms})

    def _all_or_one(self, project: str, deployment: str, ticket: str, values: dict[str, Any]) -> Moved:
        where = [*_of(project, deployment, TicketState.DEAD)]
        if ticket:
            where.append(TICKETS.c.id == ticket)
        size = select(func.coalesce(func.sum(func.length(TICKETS.c.body)), 0)).where(*where)
        with self._database.writing() as connection:
            size_bytes: int = connection.execute(size).scalar_one()
            return Moved(
                connection.execute(update(TICKETS).where(*where).values(values)).rowcount, size_bytes
            )


class _NotAll(Exception):
    """Some tickets were not as expected."""


def _change_all(connection: Connection, changes: Sequence[Change]) -> None:
    """Each kind of change in one go, which costs a third. Raises `_NotAll`."""
    kinds: dict[Any, list[dict[str, Any]]] = {}
    for change in changes:
        statement, values = _statement(change)
        kinds.setdefault(statement, []).append(values)
    for statement, rows in kinds.items():
        if connection.execute(statement, rows).rowcount != len(rows):
            raise _NotAll
    told = [columns(change.delivery) for change in changes if change.delivery is not None]
    if told:
        connection.execute(TELL, told)
    follows = [columns(change.follow) for change in changes if change.follow is not None]
    if follows:
        connection.execute(INSERT, follows)
    for change in changes:
        for letter in change.letters:
            put_letter(connection, letter)


def _change(connection: Connection, change: Change) -> bool:
    made = connection.execute(*_statement(change)).rowcount == 1
    if made and change.delivery is not None:
        connection.execute(TELL, columns(change.delivery))
    if made and change.follow is not None:
        connection.execute(INSERT, columns(change.follow))
    for letter in change.letters if made else ():
        put_letter(connection, letter)
    return made


def _statement(change: Change) -> tuple[Any, dict[str, Any]]:
    ticket = change.ticket
    if change.expects is None:
        return INSERT, columns(ticket)
    values = {name: getattr(ticket, name) for name in CHANGING}
    which = {"of_id": ticket.id, "of_project": ticket.project, "of_state": change.expects.value}
    return UPDATE if ticket.body else UPDATE_AND_EMPTY, {**values, **which}


def _newest(connection: Connection) -> int:
    """The last time at which anything was stored, in the time of the clock of then."""
    times = (TICKETS.c.created_unix_ms, TICKETS.c.ended_unix_ms, DELIVERIES.c.created_unix_ms)
    newest = (connection.execute(select(func.max(column))).scalar_one() for column in times)
    return max((unix_ms for unix_ms in newest if unix_ms is not None), default=0)


def _move_back(connection: Connection, by_ms: int) -> None:
    """Everything that has times to come, and what an age or a term is counted from."""
    moved: dict[Table, tuple[str, ...]] = {
        TICKETS: ("due_unix_ms", "queued_unix_ms", "created_unix_ms", "ended_unix_ms", "forget_unix_ms"),
        DELIVERIES: ("due_unix_ms", "created_unix_ms"),
    }
    for table, names in moved.items():
        connection.execute(update(table).values({name: table.c[name] - by_ms for name in names}))


def _oldest_over(results_bytes_max: int) -> Select[Any]:
    """Succeeded tickets that would have to go for the others' results to fit, oldest end first."""
    newer = (TICKETS.c.ended_unix_ms.desc(), TICKETS.c.sequence.desc())
    held = func.sum(func.length(TICKETS.c.result)).over(order_by=newer).label("held")
    sums = select(TICKETS.c.id, held).where(TICKETS.c.state == TicketState.SUCCEEDED).subquery()
    return select(sums.c.id).where(sums.c.held > results_bytes_max)


def _empty(connection: Connection, which: Select[Any]) -> int:
    return connection.execute(update(TICKETS).where(TICKETS.c.id.in_(which)).values(EMPTIED)).rowcount


def _of(project: str, deployment: str, state: TicketState) -> tuple[Any, ...]:
    return (TICKETS.c.project == project, TICKETS.c.deployment == deployment, TICKETS.c.state == state)


def _tickets() -> Select[Any]:
    return select(*(column for column in TICKETS.c if column.name != "sequence"))
