"""Aliases, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from lambent.core.errors import Conflict, NotFound
from lambent.storage.aliases import Alias
from lambent.storage.base import Revision
from lambent.storage.sql_database import Database, columns, one
from lambent.storage.sql_deployments import find_deployment, find_revision, insert_next
from lambent.storage.tables import ALIASES


class SqlAliases:
    """Implements `storage.aliases.Aliases`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, alias: Alias) -> None:
        """Insert or replace. Raises `NotFound` where the deployment or one of the revisions is not there."""
        with self._database.writing() as connection:
            if find_deployment(connection, alias.project, alias.deployment) is None:
                raise NotFound(f"there is no deployment {alias.deployment!r}")
            for revision in (alias.revision, alias.candidate):
                found = find_revision(connection, revision) if revision else None
                if revision and (found is None or found.deployment != alias.deployment):
                    raise NotFound(f"{alias.deployment!r} has no revision {revision!r}")
            _put(connection, alias)

    def keep(self, wanted: Revision, alias: Alias) -> Revision:
        """Store a revision without making it active, and an alias that names it, in one transaction.

        Content equal to an existing revision's gives that one. Raises `NotFound` where the deployment is not
        there.
        """
        with self._database.writing() as connection:
            if find_deployment(connection, alias.project, alias.deployment) is None:
                raise NotFound(f"there is no deployment {alias.deployment!r}")
            made = find_revision(connection, wanted.id) or insert_next(connection, wanted)
            _put(connection, alias)
            return made

    def try_out(self, wanted: Revision, alias: Alias) -> Revision:
        """Store a revision without making it active, and the alias that tries it, in one transaction.

        `alias.revision` must be active; else, or where it is gone, `Conflict` is raised. Content equal to an
        existing revision's gives that one.
        """
        with self._database.writing() as connection:
            found = find_deployment(connection, alias.project, alias.deployment)
            if found is None or found.active_revision != alias.revision:
                raise Conflict(f"{alias.deployment!r} has changed meanwhile; deploy again")
            made = find_revision(connection, wanted.id) or insert_next(connection, wanted)
            _put(connection, alias)
            return made

    def end_trial(self, alias: Alias, *, expects: str) -> bool:
        """Replace the alias if its candidate is still the revision `expects`. Whether it was."""
        query = select(ALIASES.c.candidate).where(*_named(alias.project, alias.deployment, alias.name))
        with self._database.writing() as connection:
            if connection.execute(query).scalar_one_or_none() != expects:
                return False
            _put(connection, alias)
            return True

    def of(self, project: str, deployment: str) -> Sequence[Alias]:
        """By name."""
        query = (
            select(ALIASES)
            .where(ALIASES.c.project == project, ALIASES.c.deployment == deployment)
            .order_by(ALIASES.c.name)
        )
        with self._database.reading() as connection:
            return [one(row, Alias) for row in connection.execute(query).mappings()]

    def remove(self, project: str, deployment: str, name: str) -> None:
        """Raises `NotFound`."""
        with self._database.writing() as connection:
            removed = connection.execute(delete(ALIASES).where(*_named(project, deployment, name)))
            if not removed.rowcount:
                raise NotFound(f"{deployment!r} has no alias {name!r}")


def _put(connection: Connection, alias: Alias) -> None:
    values = columns(alias)
    statement = insert(ALIASES).values(values)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[ALIASES.c.project, ALIASES.c.deployment, ALIASES.c.name], set_=values
        )
    )


def _named(project: str, deployment: str, name: str) -> tuple[Any, ...]:
    return (ALIASES.c.project == project, ALIASES.c.deployment == deployment, ALIASES.c.name == name)
