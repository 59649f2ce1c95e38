"""Keys of projects beside the one that a server under test has."""

from __future__ import annotations

import asyncio

from lambent.clock import SystemClock
from lambent.core.invocation import Role
from lambent.gateway.auth import Keys
from lambent.storage.sql import SqlStore
from lambent.wire.keys import KeyReply
from tests.support.server import RunningServer


def keys_of(server: RunningServer, *projects: str) -> dict[str, KeyReply]:
    """An administrator's key for each, made beside the running server: no door makes projects."""
    store = SqlStore.open(server.state_dir / "lambent.db", SystemClock())
    keys = Keys(store.keys, (server.state_dir / "master.key").read_bytes(), SystemClock())

    async def made() -> dict[str, KeyReply]:
        return {project: await keys.create(project, "test", Role.ADMIN) for project in projects}

    try:
        return asyncio.run(made())
    finally:
        store.close()
