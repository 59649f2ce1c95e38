"""How a database of any earlier version becomes one of this version: numbered steps, forward only.

A step that has been released is never edited; the next change is the next step.
"""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import Connection, func, insert, select

from lambent.core.errors import StorageBroken
from lambent.storage.tables import SCHEMA


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One step. Its number is its place in `MIGRATIONS`, counted from 1."""

    name: str
    statements: tuple[str, ...]


FIRST: Final = Migration(
    name="deployments, models, runs, keys, tickets and usage",
    statements=(
        """CREATE TABLE deployments (
            project TEXT NOT NULL, name TEXT NOT NULL, app TEXT NOT NULL,
            active_revision TEXT NOT NULL REFERENCES revisions (id) DEFERRABLE INITIALLY DEFERRED,
            created_unix_ms BIGINT NOT NULL,
            PRIMARY KEY (project, name))""",
        """CREATE TABLE revisions (
            id TEXT NOT NULL, project TEXT NOT NULL, deployment TEXT NOT NULL, number INTEGER NOT NULL,
            spec TEXT NOT NULL, code_digest TEXT NOT NULL, model_digest TEXT NOT NULL, model_number INTEGER,
            created_unix_ms BIGINT NOT NULL,
            PRIMARY KEY (id),
            FOREIGN KEY (project, deployment) REFERENCES deployments (project, name) ON DELETE CASCADE,
            UNIQUE (project, deployment, number))""",
        """CREATE TABLE models (
            project TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, digest TEXT NOT NULL,
            metrics TEXT NOT NULL, run TEXT NOT NULL, size_bytes BIGINT NOT NULL,
            created_unix_ms BIGINT NOT NULL,
            PRIMARY KEY (project, name, number))""",
        """CREATE TABLE runs (
            sequence INTEGER NOT NULL, id TEXT NOT NULL, project TEXT NOT NULL, job TEXT NOT NULL,
            for_deployment TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, progress DOUBLE NOT NULL,
            message TEXT NOT NULL, metrics TEXT NOT NULL, params TEXT NOT NULL, model_number INTEGER,
            created_unix_ms BIGINT NOT NULL, ended_unix_ms BIGINT,
            PRIMARY KEY (sequence), UNIQUE (id))""",
        "CREATE INDEX runs_newest ON runs (project, created_unix_ms)",
        "CREATE INDEX runs_state ON runs (state)",
        """CREATE TABLE keys (
            id TEXT NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL, role TEXT NOT NULL,
            secret_hash TEXT NOT NULL, created_unix_ms BIGINT NOT NULL,
            PRIMARY KEY (id))""",
        """CREATE TABLE tickets (
            sequence INTEGER NOT NULL, id TEXT NOT NULL, project TEXT NOT NULL, deployment TEXT NOT NULL,
            body BLOB NOT NULL, content_type TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
            due_unix_ms BIGINT NOT NULL, error TEXT NOT NULL, result BLOB NOT NULL, result_type TEXT NOT NULL,
            created_unix_ms BIGINT NOT NULL,
            PRIMARY KEY (sequence), UNIQUE (id))""",
        "CREATE INDEX tickets_due ON tickets (state, due_unix_ms)",
        """CREATE TABLE usage_segments (
            segment TEXT NOT NULL, offset_bytes BIGINT NOT NULL, torn_records INTEGER NOT NULL,
            PRIMARY KEY (segment))""",
        """CREATE TABLE usage_hours (
            project TEXT NOT NULL, deployment TEXT NOT NULL, hour_unix_ms BIGINT NOT NULL,
            memory_bytes BIGINT NOT NULL, invocations BIGINT NOT NULL, failed BIGINT NOT NULL,
            cold_starts BIGINT NOT NULL, run_us BIGINT NOT NULL, cpu_us BIGINT NOT NULL,
            billed_ms BIGINT NOT NULL, billed_init_ms BIGINT NOT NULL, readings TEXT NOT NULL,
            request_bytes BIGINT NOT NULL, response_bytes BIGINT NOT NULL,
            PRIMARY KEY (project, deployment, hour_unix_ms, memory_bytes))""",
        "CREATE INDEX usage_hours_period ON usage_hours (project, hour_unix_ms)",
    ),
)

DEFERRAL: Final = Migration(
    name="terms, ends and webhooks of asynchronous invocations",
    statements=(
        "ALTER TABLE tickets ADD COLUMN client_context TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE tickets ADD COLUMN order_key TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE tickets ADD COLUMN webhook TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE tickets ADD COLUMN webhook_reach TEXT NOT NULL DEFAULT 'public'",
        "ALTER TABLE tickets ADD COLUMN body_hash BLOB NOT NULL DEFAULT x''",
        "ALTER TABLE tickets ADD COLUMN keyed BOOLEAN NOT NULL DEFAULT 0",
        "ALTER TABLE tickets ADD COLUMN queued_unix_ms BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE tickets ADD COLUMN ended_unix_ms BIGINT",
        "ALTER TABLE tickets ADD COLUMN forget_unix_ms BIGINT",
        # An older server did not say which ids came from keys: all may have.
        "UPDATE tickets SET queued_unix_ms = created_unix_ms, keyed = 1",
        """UPDATE tickets SET ended_unix_ms = created_unix_ms, forget_unix_ms = created_unix_ms + 86400000
            WHERE state = 'succeeded'""",
        """UPDATE tickets SET ended_unix_ms = created_unix_ms, forget_unix_ms = created_unix_ms + 1209600000
            WHERE state = 'dead'""",
        "DROP INDEX tickets_due",
        "CREATE INDEX tickets_of ON tickets (project, deployment, state, due_unix_ms)",
        "CREATE INDEX tickets_final ON tickets (state, forget_unix_ms)",
        """CREATE INDEX tickets_in_order ON tickets (project, deployment, order_key, sequence)
            WHERE order_key <> '' AND state IN ('queued', 'running')""",
        """CREATE TABLE deliveries (
            sequence INTEGER NOT NULL, id TEXT NOT NULL, project TEXT NOT NULL, deployment TEXT NOT NULL,
            ticket TEXT NOT NULL, url TEXT NOT NULL, reach TEXT NOT NULL, body BLOB NOT NULL,
            state TEXT NOT NULL, attempts INTEGER NOT NULL, due_unix_ms BIGINT NOT NULL, error TEXT NOT NULL,
            created_unix_ms BIGINT NOT NULL,
            PRIMARY KEY (sequence), UNIQUE (id))""",
        "CREATE INDEX deliveries_due ON deliveries (state, due_unix_ms)",
        """CREATE TABLE webhook_rotations (
            project TEXT NOT NULL, number INTEGER NOT NULL, overlap_until_unix_ms BIGINT NOT NULL,
            PRIMARY KEY (project))""",
    ),
)

ROUTING: Final = Migration(
    name="aliases, and who asked for what under which",
    statements=(
        """CREATE TABLE aliases (
            project TEXT NOT NULL, deployment TEXT NOT NULL, name TEXT NOT NULL, revision TEXT NOT NULL,
            candidate TEXT NOT NULL, percent DOUBLE NOT NULL, sticky_header TEXT NOT NULL,
            max_error_rate DOUBLE, max_p95_ms DOUBLE, promote_after_s DOUBLE, note TEXT NOT NULL,
            changed_unix_ms BIGINT NOT NULL,
            PRIMARY KEY (project, deployment, name),
            FOREIGN KEY (project, deployment) REFERENCES deployments (project, name) ON DELETE CASCADE)""",
        "ALTER TABLE tickets ADD COLUMN alias TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE tickets ADD COLUMN sticky TEXT NOT NULL DEFAULT ''",
    ),
)

TRACING: Final = Migration(
    name="the trace that an asynchronous invocation belongs to",
    statements=("ALTER TABLE tickets ADD COLUMN trace TEXT NOT NULL DEFAULT ''",),
)

BESIDE: Final = Migration(
    name="what AWS's API keeps beside deployments",
    statements=(
        """CREATE TABLE records (
            project TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL,
            body TEXT NOT NULL, changed_unix_ms BIGINT NOT NULL,
            PRIMARY KEY (project, kind, name, key))""",
    ),
)

CALLED: Final = Migration(
    name="as what AWS's clients called an asynchronous invocation's function",
    statements=("ALTER TABLE tickets ADD COLUMN called TEXT NOT NULL DEFAULT ''",),
)

MESSAGES: Final = Migration(
    name="queues and their messages",
    statements=(
        """CREATE TABLE queues (
            id INTEGER NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL, terms TEXT NOT NULL,
            extra TEXT NOT NULL, tags TEXT NOT NULL, created_unix_ms BIGINT NOT NULL,
            modified_unix_ms BIGINT NOT NULL,
            PRIMARY KEY (id), UNIQUE (project, name))""",
        """CREATE TABLE messages (
            sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
            queue INTEGER NOT NULL REFERENCES queues (id) ON DELETE CASCADE,
            id TEXT NOT NULL, body TEXT NOT NULL, sender TEXT NOT NULL, trace TEXT NOT NULL,
            attributes TEXT NOT NULL, size_bytes BIGINT NOT NULL, sent_unix_ms BIGINT NOT NULL,
            visible_unix_ms BIGINT NOT NULL, first_received_unix_ms BIGINT NOT NULL,
            receives INTEGER NOT NULL, receives_before INTEGER NOT NULL, mark TEXT NOT NULL,
            "group" TEXT NOT NULL, dedup TEXT NOT NULL, source TEXT NOT NULL)""",
        "CREATE INDEX messages_visible ON messages (queue, visible_unix_ms, sequence)",
        "CREATE INDEX messages_in_order ON messages (queue, sequence)",
        """CREATE INDEX messages_of_group ON messages (queue, "group", visible_unix_ms)
            WHERE "group" <> ''""",
        """CREATE TABLE message_keys (
            queue INTEGER NOT NULL REFERENCES queues (id) ON DELETE CASCADE, key TEXT NOT NULL,
            message TEXT NOT NULL, sequence INTEGER NOT NULL, until_unix_ms BIGINT NOT NULL,
            PRIMARY KEY (queue, key))""",
    ),
)

FACES: Final = Migration(
    name="in whose words an asynchronous invocation was accepted",
    statements=("ALTER TABLE tickets ADD COLUMN face TEXT NOT NULL DEFAULT ''",),
)

SLICES: Final = Migration(
    name="runs in slices that end in checkpoints, and what they wait for",
    statements=(
        "ALTER TABLE runs ADD COLUMN revision TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN started_unix_ms BIGINT",
        "ALTER TABLE runs ADD COLUMN due_unix_ms BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN slices BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN running_ms BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN earlier_ms BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN step BIGINT NOT NULL DEFAULT -1",
        "ALTER TABLE runs ADD COLUMN checkpoint_unix_ms BIGINT",
        "ALTER TABLE runs ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN failed_step BIGINT NOT NULL DEFAULT -1",
        "ALTER TABLE runs ADD COLUMN failed_by TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN after TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE runs ADD COLUMN parent TEXT NOT NULL DEFAULT ''",
        'ALTER TABLE runs ADD COLUMN "index" BIGINT NOT NULL DEFAULT 0',
        "ALTER TABLE runs ADD COLUMN datasets TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE runs ADD COLUMN max_cost_usd DOUBLE NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN cost_usd DOUBLE NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN exit TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN end_asked TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN result TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN model_refused TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN warning TEXT NOT NULL DEFAULT ''",
    ),
)

GATES: Final = Migration(
    name="models that their gate refused",
    statements=("ALTER TABLE models ADD COLUMN refused TEXT NOT NULL DEFAULT ''",),
)

DATASETS: Final = Migration(
    name="versions of datasets",
    statements=(
        """CREATE TABLE datasets (
            project TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, digest TEXT NOT NULL,
            kind TEXT NOT NULL, size_bytes BIGINT NOT NULL, files BIGINT NOT NULL,
            created_unix_ms BIGINT NOT NULL, removed BOOLEAN NOT NULL,
            PRIMARY KEY (project, name, number), UNIQUE (project, name, digest))""",
    ),
)

MIGRATIONS: Final[tuple[Migration, ...]] = (
    FIRST,
    DEFERRAL,
    ROUTING,
    TRACING,
    BESIDE,
    CALLED,
    MESSAGES,
    FACES,
    SLICES,
    GATES,
    DATASETS,
)


def migrate(
    connection: Connection, *, now_unix_ms: int, migrations: tuple[Migration, ...] = MIGRATIONS
) -> None:
    """Apply what is missing, inside the caller's transaction, which must hold the write lock.

    Raises `StorageBroken` where the database is of a version that this code does not know.
    """
    SCHEMA.create(connection, checkfirst=True)
    applied: int = connection.execute(select(func.coalesce(func.max(SCHEMA.c.number), 0))).scalar_one()
    if applied > len(migrations):
        raise StorageBroken(
            f"the database is of schema {applied} and this Lambent knows only up to {len(migrations)}: "
            "a newer Lambent has used it. Start that one, or use another state directory"
        )
    for number, migration in enumerate(migrations[applied:], start=applied + 1):
        for statement in migration.statements:
            connection.exec_driver_sql(statement)
        connection.execute(
            insert(SCHEMA).values(number=number, name=migration.name, applied_unix_ms=now_unix_ms)
        )
