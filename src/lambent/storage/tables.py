"""The tables as they are now. How an older file gets there is in `migrations`; a test compares the two."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class Json(TypeDecorator[Any]):
    """A value as JSON text with sorted keys, so that equal values are equal text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value, order="sorted").decode()

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else msgspec.json.decode(value)


METADATA: Final = MetaData()

SCHEMA: Final = Table(
    "schema_migrations",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("applied_unix_ms", BigInteger, nullable=False),
)

DEPLOYMENTS: Final = Table(
    "deployments",
    METADATA,
    Column("project", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("app", Text, nullable=False),
    # Deferred: a deployment and its first revision name each other, and are inserted in one transaction.
    Column(
        "active_revision",
        Text,
        ForeignKey("revisions.id", deferrable=True, initially="DEFERRED"),
        nullable=False,
    ),
    Column("created_unix_ms", BigInteger, nullable=False),
)

REVISIONS: Final = Table(
    "revisions",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("spec", Json, nullable=False),
    Column("code_digest", Text, nullable=False),
    Column("model_digest", Text, nullable=False),
    Column("model_number", Integer),
    Column("created_unix_ms", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["project", "deployment"], ["deployments.project", "deployments.name"], ondelete="CASCADE"
    ),
    UniqueConstraint("project", "deployment", "number"),
)

# An empty name is the deployment's own. Revisions go with their deployment alone, and aliases with it.
ALIASES: Final = Table(
    "aliases",
    METADATA,
    Column("project", Text, primary_key=True),
    Column("deployment", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("revision", Text, nullable=False),
    Column("candidate", Text, nullable=False),
    Column("percent", Double, nullable=False),
    Column("sticky_header", Text, nullable=False),
    Column("max_error_rate", Double),
    Column("max_p95_ms", Double),
    Column("promote_after_s", Double),
    Column("note", Text, nullable=False),
    Column("changed_unix_ms", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["project", "deployment"], ["deployments.project", "deployments.name"], ondelete="CASCADE"
    ),
)

# A model may be registered before the deployment that serves it exists, so nothing ties the two together.
MODELS: Final = Table(
    "models",
    METADATA,
    Column("project", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),
    Column("metrics", Json, nullable=False),
    Column("run", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_unix_ms", BigInteger, nullable=False),
    Column("refused", Text, nullable=False, server_default=""),
)

# `sequence` orders what was created within one millisecond; it never leaves the store.
RUNS: Final = Table(
    "runs",
    METADATA,
    Column("sequence", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("project", Text, nullable=False),
    Column("job", Text, nullable=False),
    Column("for_deployment", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("progress", Double, nullable=False),
    Column("message", Text, nullable=False),
    Column("metrics", Json, nullable=False),
    Column("params", Json, nullable=False),
    Column("model_number", Integer),
    Column("created_unix_ms", BigInteger, nullable=False),
    Column("ended_unix_ms", BigInteger),
    Column("revision", Text, nullable=False, server_default=""),
    Column("started_unix_ms", BigInteger),
    Column("due_unix_ms", BigInteger, nullable=False, server_default=text("0")),
    Column("slices", BigInteger, nullable=False, server_default=text("0")),
    Column("running_ms", BigInteger, nullable=False, server_default=text("0")),
    Column("earlier_ms", BigInteger, nullable=False, server_default=text("0")),
    Column("step", BigInteger, nullable=False, server_default=text("-1")),
    Column("checkpoint_unix_ms", BigInteger),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("failed_step", BigInteger, nullable=False, server_default=text("-1")),
    Column("failed_by", Text, nullable=False, server_default=""),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    Column("after", Json, nullable=False, server_default="[]"),
    Column("parent", Text, nullable=False, server_default=""),
    Column("index", BigInteger, nullable=False, server_default=text("0")),
    Column("datasets", Json, nullable=False, server_default="{}"),
    Column("max_cost_usd", Double, nullable=False, server_default=text("0")),
    Column("cost_usd", Double, nullable=False, server_default=text("0")),
    Column("exit", Text, nullable=False, server_default=""),
    Column("end_asked", Text, nullable=False, server_default=""),
    Column("result", Text, nullable=False, server_default=""),
    Column("model_refused", Text, nullable=False, server_default=""),
    Column("warning", Text, nullable=False, server_default=""),
    Index("runs_newest", "project", "created_unix_ms"),
    Index("runs_state", "state"),
)

# What is removed stays as a row: runs name versions by their numbers.
DATASETS: Final = Table(
    "datasets",
    METADATA,
    Column("project", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("files", BigInteger, nullable=False),
    Column("created_unix_ms", BigInteger, nullable=False),
    Column("removed", Boolean, nullable=False),
    UniqueConstraint("project", "name", "digest"),
)

KEYS: Final = Table(
    "keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("secret_hash", Text, nullable=False),
    Column("created_unix_ms", BigInteger, nullable=False),
)

TICKETS: Final = Table(
    "tickets",
    METADATA,
    Column("sequence", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("project", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_unix_ms", BigInteger, nullable=False),
    Column("error", Text, nullable=False),
    Column("result", LargeBinary, nullable=False),
    Column("result_type", Text, nullable=False),
    Column("created_unix_ms", BigInteger, nullable=False),
    Column("client_context", Text, nullable=False, server_default=text("''")),
    Column("order_key", Text, nullable=False, server_default=text("''")),
    Column("webhook", Text, nullable=False, server_default=text("''")),
    Column("webhook_reach", Text, nullable=False, server_default=text("'public'")),
    Column("body_hash", LargeBinary, nullable=False, server_default=text("x''")),
    Column("keyed", Boolean, nullable=False, server_default=text("0")),
    Column("queued_unix_ms", BigInteger, nullable=False, server_default=text("0")),
    Column("ended_unix_ms", BigInteger),
    Column("forget_unix_ms", BigInteger),
    Column("alias", Text, nullable=False, server_default=text("''")),
    Column("sticky", Text, nullable=False, server_default=text("''")),
    Column("trace", Text, nullable=False, server_default=text("''")),
    Column("called", Text, nullable=False, server_default=text("''")),
    Column("face", Text, nullable=False, server_default=text("''")),
    Index("tickets_of", "project", "deployment", "state", "due_unix_ms"),
    Index("tickets_final", "state", "forget_unix_ms"),
    Index(
        "tickets_in_order",
        *("project", "deployment", "order_key", "sequence"),
        sqlite_where=text("order_key <> '' AND state IN ('queued', 'running')"),
    ),
)

# What webhooks are told of invocations that have ended. A row is written with the end itself.
DELIVERIES: Final = Table(
    "deliveries",
    METADATA,
    Column("sequence", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("project", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("ticket", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("reach", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_unix_ms", BigInteger, nullable=False),
    Column("error", Text, nullable=False),
    Column("created_unix_ms", BigInteger, nullable=False),
    Index("deliveries_due", "state", "due_unix_ms"),
)

# A project's webhook secret is derived from the server's master key and this number: no secret is stored.
ROTATIONS: Final = Table(
    "webhook_rotations",
    METADATA,
    Column("project", Text, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("overlap_until_unix_ms", BigInteger, nullable=False),
)

# What another system's API keeps beside deployments: functions' roles and tags, layers, and so on.
RECORDS: Final = Table(
    "records",
    METADATA,
    Column("project", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body", Json, nullable=False),
    Column("changed_unix_ms", BigInteger, nullable=False),
)

# A queue's messages go with it. `terms` is a `core.messages.Terms`.
QUEUES: Final = Table(
    "queues",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("project", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("terms", Json, nullable=False),
    Column("extra", Json, nullable=False),
    Column("tags", Json, nullable=False),
    Column("created_unix_ms", BigInteger, nullable=False),
    Column("modified_unix_ms", BigInteger, nullable=False),
    UniqueConstraint("project", "name"),
)

# No sequence is given twice, also where the last message is gone: receipts name it, and senders are told it.
MESSAGES: Final = Table(
    "messages",
    METADATA,
    Column("sequence", Integer, primary_key=True),
    Column("queue", Integer, ForeignKey("queues.id", ondelete="CASCADE"), nullable=False),
    Column("id", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("trace", Text, nullable=False),
    Column("attributes", Json, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sent_unix_ms", BigInteger, nullable=False),
    Column("visible_unix_ms", BigInteger, nullable=False),
    Column("first_received_unix_ms", BigInteger, nullable=False),
    Column("receives", Integer, nullable=False),
    Column("receives_before", Integer, nullable=False),
    Column("mark", Text, nullable=False),
    Column("group", Text, nullable=False),
    Column("dedup", Text, nullable=False),
    Column("source", Text, nullable=False),
    Index("messages_visible", "queue", "visible_unix_ms", "sequence"),
    Index("messages_in_order", "queue", "sequence"),
    Index("messages_of_group", "queue", "group", "visible_unix_ms", sqlite_where=text("\"group\" <> ''")),
    sqlite_autoincrement=True,
)

# The same message sent again within five minutes is this one, also where it has been received and removed.
MESSAGE_KEYS: Final = Table(
    "message_keys",
    METADATA,
    Column("queue", Integer, ForeignKey("queues.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("message", Text, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("until_unix_ms", BigInteger, nullable=False),
)

# How far each segment of the usage journal has been brought in, and what of it could not be read.
USAGE_SEGMENTS: Final = Table(
    "usage_segments",
    METADATA,
    Column("segment", Text, primary_key=True),
    Column("offset_bytes", BigInteger, nullable=False),
    Column("torn_records", Integer, nullable=False),
)

# Sums over one hour. A price plan rounds each invocation up in its own way, which a sum cannot do afterwards:
# so the billed time is summed once for each meter of `core.pricing`, by its label.
USAGE_HOURS: Final = Table(
    "usage_hours",
    METADATA,
    Column("project", Text, primary_key=True),
    Column("deployment", Text, primary_key=True),
    Column("hour_unix_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("memory_bytes", BigInteger, primary_key=True, autoincrement=False),
    Column("invocations", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("cold_starts", BigInteger, nullable=False),
    Column("run_us", BigInteger, nullable=False),
    Column("cpu_us", BigInteger, nullable=False),
    Column("billed_ms", BigInteger, nullable=False),
    Column("billed_init_ms", BigInteger, nullable=False),
    Column("readings", Json, nullable=False),
    Column("request_bytes", BigInteger, nullable=False),
    Column("response_bytes", BigInteger, nullable=False),
    Index("usage_hours_period", "project", "hour_unix_ms"),
)
