"""Deployments, their revisions and their models, in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from lambent.clock import Clock
from lambent.core.errors import NotFound
from lambent.core.routing import OWN
from lambent.core.spec import DeploymentSpec
from lambent.storage.base import Deployment, Model, Revision, check_owner, revision_id
from lambent.storage.sql_database import Database, columns, one
from lambent.storage.tables import ALIASES, DEPLOYMENTS, MODELS, REVISIONS


class SqlDeployments:
    """Deployments and their revisions; implements `storage.base.Deployments`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def commit(
        self,
        spec: DeploymentSpec,
        *,
        project: str,
        app: str,
        code_digest: str,
        model: Model | None,
    ) -> Revision:
        """Store a revision and make it active, in one transaction; creates the deployment where it is new.

        Of two commits at once both succeed, one after the other: the later one is active. A deployment
        that no app declared may be taken over by any. Raises `Conflict` where another app has it.
        """
        digest = model.digest if model else ""
        wanted = Revision(
            id=revision_id(project, spec, code_digest=code_digest, model_digest=digest),
            project=project,
            deployment=spec.name,
            number=1,
            spec=spec,
            code_digest=code_digest,
            model_digest=digest,
            model_number=model.number if model else None,
            created_unix_ms=self._clock.unix_ms(),
        )
        with self._database.writing() as connection:
            before = find_deployment(connection, project, spec.name)
            check_owner(before, app)
            _activate(connection, wanted, app=app)
            return find_revision(connection, wanted.id) or insert_next(connection, wanted)

    def activate(self, project: str, name: str, revision: str) -> Deployment:
        """Make an existing revision active. Raises `NotFound`."""
        with self._database.writing() as connection:
            before = find_deployment(connection, project, name)
            found = find_revision(connection, revision)
            if before is None or found is None or (found.project, found.deployment) != (project, name):
                raise NotFound(f"{name!r} has no revision {revision!r}")
            connection.execute(
                update(DEPLOYMENTS).where(*_named(project, name)).values(active_revision=revision)
            )
            _end_own_trial(connection, project, name)
            return msgspec.structs.replace(before, active_revision=revision)

    def find(self, project: str, name: str) -> Deployment | None:
        """The deployment of that name, or None."""
        with self._database.reading() as connection:
            return find_deployment(connection, project, name)

    def all(self, project: str | None = None) -> Sequence[Deployment]:
        """Those of a project, or of every project, by name."""
        query = select(DEPLOYMENTS).order_by(DEPLOYMENTS.c.project, DEPLOYMENTS.c.name)
        if project is not None:
            query = query.where(DEPLOYMENTS.c.project == project)
        with self._database.reading() as connection:
            return [one(row, Deployment) for row in connection.execute(query).mappings()]

    def revision(self, revision: str) -> Revision:
        """A revision by its id. Raises `NotFound`."""
        with self._database.reading() as connection:
            found = find_revision(connection, revision)
        if found is None:
            raise NotFound(f"no revision {revision!r}")
        return found

    def revisions(self, project: str, name: str) -> Sequence[Revision]:
        """Newest first."""
        query = (
            select(REVISIONS)
            .where(REVISIONS.c.project == project, REVISIONS.c.deployment == name)
            .order_by(REVISIONS.c.number.desc())
        )
        with self._database.reading() as connection:
            return [one(row, Revision) for row in connection.execute(query).mappings()]

    def remove(self, project: str, name: str) -> None:
        """Forget a deployment, its revisions and its models. Raises `NotFound`."""
        with self._database.writing() as connection:
            # Its revisions go with it, by the foreign key.
            if not connection.execute(delete(DEPLOYMENTS).where(*_named(project, name))).rowcount:
                raise NotFound(f"no deployment {name!r}")
            connection.execute(delete(MODELS).where(MODELS.c.project == project, MODELS.c.name == name))


class SqlModels:
    """Registered models; implements `storage.base.Models`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def register(
        self,
        *,
        project: str,
        name: str,
        digest: str,
        size_bytes: int,
        metrics: Mapping[str, float],
        run: str,
        refused: str = "",
    ) -> Model:
        """Store a model under the next number of its name. A run has one of a name: the first stays."""
        with self._database.writing() as connection:
            if run and (found := self._first(connection, project, name, MODELS.c.run == run)):
                return found
            model = Model(
                project=project,
                name=name,
                number=_next(connection, MODELS.c.number, MODELS.c.project == project, MODELS.c.name == name),
                digest=digest,
                metrics=dict(metrics),
                run=run,
                size_bytes=size_bytes,
                created_unix_ms=self._clock.unix_ms(),
                refused=refused,
            )
            connection.execute(insert(MODELS).values(columns(model)))
        return model

    def latest(self, project: str, name: str) -> Model | None:
        """The newest that was not refused, or None."""
        with self._database.reading() as connection:
            return self._first(connection, project, name, MODELS.c.refused == "")

    def find(self, project: str, name: str, number: int) -> Model | None:
        """The one of this number, or None."""
        with self._database.reading() as connection:
            return self._first(connection, project, name, MODELS.c.number == number)

    def overrule(self, model: Model) -> None:
        """From now on it counts as accepted."""
        this = (MODELS.c.project == model.project, MODELS.c.name == model.name)
        with self._database.writing() as connection:
            connection.execute(
                update(MODELS).where(*this, MODELS.c.number == model.number).values(refused="")
            )

    def _first(
        self, connection: Connection, project: str, name: str, wanted: ColumnElement[bool]
    ) -> Model | None:
        named = (MODELS.c.project == project, MODELS.c.name == name)
        newest = select(MODELS).where(*named, wanted).order_by(MODELS.c.number.desc()).limit(1)
        row = connection.execute(newest).mappings().first()
        return None if row is None else one(row, Model)

    def all(self, project: str, name: str = "") -> Sequence[Model]:
        """Those of one name, or of the whole project; newest first within a name."""
        query = (
            select(MODELS).where(MODELS.c.project == project).order_by(MODELS.c.name, MODELS.c.number.desc())
        )
        if name:
            query = query.where(MODELS.c.name == name)
        with self._database.reading() as connection:
            return [one(row, Model) for row in connection.execute(query).mappings()]


def find_deployment(connection: Connection, project: str, name: str) -> Deployment | None:
    """The deployment of that name, or None."""
    row = connection.execute(select(DEPLOYMENTS).where(*_named(project, name))).mappings().first()
    return None if row is None else one(row, Deployment)


def find_revision(connection: Connection, revision: str) -> Revision | None:
    """The revision of that id, or None."""
    row = connection.execute(select(REVISIONS).where(REVISIONS.c.id == revision)).mappings().first()
    return None if row is None else one(row, Revision)


def _activate(connection: Connection, revision: Revision, *, app: str) -> None:
    named = _named(revision.project, revision.deployment)
    changed = connection.execute(
        update(DEPLOYMENTS).where(*named).values(active_revision=revision.id, app=app)
    )
    _end_own_trial(connection, revision.project, revision.deployment)
    if not changed.rowcount:
        deployment = Deployment(
            project=revision.project,
            name=revision.deployment,
            app=app,
            active_revision=revision.id,
            created_unix_ms=revision.created_unix_ms,
        )
        connection.execute(insert(DEPLOYMENTS).values(columns(deployment)))


def _end_own_trial(connection: Connection, project: str, name: str) -> None:
    """What was tried under the deployment's own name was tried beside another revision."""
    own = (ALIASES.c.project == project, ALIASES.c.deployment == name, ALIASES.c.name == OWN)
    connection.execute(delete(ALIASES).where(*own))


def insert_next(connection: Connection, wanted: Revision) -> Revision:
    """Store a revision under the next number of its deployment."""
    number = _next(
        connection,
        REVISIONS.c.number,
        REVISIONS.c.project == wanted.project,
        REVISIONS.c.deployment == wanted.deployment,
    )
    revision = msgspec.structs.replace(wanted, number=number)
    connection.execute(insert(REVISIONS).values(columns(revision)))
    return revision


def _next(connection: Connection, number: Any, *where: Any) -> int:
    """One above the highest. The write lock, which the caller holds, keeps it from being given twice."""
    highest: int = connection.execute(select(func.coalesce(func.max(number), 0)).where(*where)).scalar_one()
    return highest + 1


def _named(project: str, name: str) -> tuple[Any, Any]:
    return (DEPLOYMENTS.c.project == project, DEPLOYMENTS.c.name == name)
