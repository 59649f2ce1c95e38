"""Messages to webhooks and the numbers of their secrets, in SQL."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Select, delete, func, select
from sqlalchemy.dialects.sqlite import insert

from lambent.storage.sql_database import Database, columns, one
from lambent.storage.tables import DELIVERIES, ROTATIONS
from lambent.storage.tickets import Delivery, DeliveryState, Rotation


class SqlDeliveries:
    """The durable queue of messages; implements `storage.tickets.Deliveries`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, delivery: Delivery) -> None:
        """Insert or replace by id."""
        fields = columns(delivery)
        new = insert(DELIVERIES).values(fields)
        with self._database.writing() as connection:
            connection.execute(new.on_conflict_do_update(index_elements=["id"], set_=fields))

    def due(self, now_unix_ms: int, *, limit: int, but_to: Collection[str] = ()) -> Sequence[Delivery]:
        """Waiting ones whose time has come, longest due first, without those to some URLs."""
        query = (
            _deliveries()
            .where(DELIVERIES.c.state == DeliveryState.WAITING, DELIVERIES.c.due_unix_ms <= now_unix_ms)
            .where(DELIVERIES.c.url.not_in(but_to))
            .order_by(DELIVERIES.c.due_unix_ms, DELIVERIES.c.sequence)
            .limit(limit)
        )
        return self._found(query)

    def waiting(self) -> int:
        """How many have not come to an end."""
        query = select(func.count()).where(DELIVERIES.c.state == DeliveryState.WAITING)
        with self._database.reading() as connection:
            count: int = connection.execute(query.select_from(DELIVERIES)).scalar_one()
            return count

    def next_due(self) -> int | None:
        """When the next of those is due, in Unix milliseconds; None where there is none."""
        query = select(func.min(DELIVERIES.c.due_unix_ms)).where(DELIVERIES.c.state == DeliveryState.WAITING)
        with self._database.reading() as connection:
            due: int | None = connection.execute(query).scalar_one()
            return due

    def all(self, project: str, *, limit: int) -> Sequence[Delivery]:
        """Newest first."""
        mine = _deliveries().where(DELIVERIES.c.project == project)
        return self._found(mine.order_by(DELIVERIES.c.sequence.desc()).limit(limit))

    def forget(self, *, before_unix_ms: int) -> int:
        """Forget final ones made before a time; returns how many."""
        old = delete(DELIVERIES).where(
            DELIVERIES.c.state != DeliveryState.WAITING, DELIVERIES.c.created_unix_ms < before_unix_ms
        )
        with self._database.writing() as connection:
            return connection.execute(old).rowcount

    def _found(self, query: Select[Any]) -> Sequence[Delivery]:
        with self._database.reading() as connection:
            return [one(row, Delivery) for row in connection.execute(query).mappings()]


class SqlRotations:
    """The numbers of the projects' secrets; implements `storage.tickets.Rotations`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, project: str) -> Rotation:
        """The project's number; the first one where it was never changed."""
        with self._database.reading() as connection:
            query = select(ROTATIONS).where(ROTATIONS.c.project == project)
            row = connection.execute(query).mappings().first()
        return Rotation(project=project) if row is None else one(row, Rotation)

    def put(self, rotation: Rotation) -> None:
        """Insert or replace by project."""
        fields = columns(rotation)
        new = insert(ROTATIONS).values(fields)
        with self._database.writing() as connection:
            connection.execute(new.on_conflict_do_update(index_elements=["project"], set_=fields))


def _deliveries() -> Select[Any]:
    return select(*(column for column in DELIVERIES.c if column.name != "sequence"))
