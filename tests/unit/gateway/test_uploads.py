"""Uploads whose hour is over are gone, and a project has so many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lambent.core.errors import NotFound, QueueFull
from lambent.core.invocation import Principal, Role
from lambent.gateway.protocols.openai.offline import Call, Operation
from lambent.gateway.protocols.openai.uploads import LIVE_MAX, OPEN_MAX, UploadOperations
from lambent.gateway.requests import Request
from lambent.storage.files import Files
from lambent.storage.sql import SqlStore
from lambent.storage.uploads import Uploads
from lambent.wire.openai.uploads import OPEN_S
from tests.support.patience import PATIENT_S
from tests.support.server import wait_until
from tests.support.virtual_time import ManualClock

FORM = b'--x\r\ncontent-disposition: form-data; name="data"; filename="a"\r\n\r\n%b\r\n--x--'
BODY = {"bytes": 3, "filename": "a", "mime_type": "b", "purpose": "vision"}


class House:
    """Uploads as one server has them."""

    def __init__(self, folder: Path, clock: ManualClock, tasks: asyncio.TaskGroup) -> None:
        self.folder = folder / "uploads"
        self.store = SqlStore.open(folder / "kept.db", clock)
        uploads = Uploads(self.store.records, Files(self.store.records, folder / "files"), self.folder)
        self.operations = UploadOperations(uploads, clock, tasks)
        self._table: dict[str, Operation] = {one.path: one for one in self.operations.operations()}

    async def ask(self, path: str, body: Any = b"", upload: str = "", project: str = "p") -> Any:
        async def never() -> Any:
            raise AssertionError("its body is given")

        async def send(_: Any) -> None:
            raise AssertionError("nothing is sent")

        kind = b"multipart/form-data; boundary=x" if isinstance(body, bytes) else b"application/json"
        scope = {
            "method": "POST",
            "path": path,
            "headers": [(b"content-type", kind)],
            "query_string": b"",
        }
        sent = body if isinstance(body, bytes) else msgspec.json.encode(body)
        who = Principal(project, "k", Role.ADMIN)
        return await self._table[path].run(Call(Request(scope, never, send), who, upload, sent))

    async def begun(self, project: str = "p") -> str:
        return str((await self.ask("/v1/uploads", BODY, project=project))["id"])


def run(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENT_S):
            await story

    asyncio.run(bounded())


class Over(Exception):
    """Ends those that wait for an hour's end."""


@asynccontextmanager
async def served(folder: Path, clock: ManualClock) -> AsyncIterator[House]:
    """A server from its start to its end."""
    try:
        async with asyncio.TaskGroup() as tasks:
            house = House(folder, clock, tasks)
            await house.operations.restore()
            yield house
            house.store.close()
            raise Over
    except* Over:
        pass


def test_an_upload_whose_hour_is_over_is_gone_with_its_parts(tmp_path: Path) -> None:
    async def story() -> None:
        clock = ManualClock()
        async with served(tmp_path, clock) as house:
            old = await house.begun()
            await house.ask("/v1/uploads/{id}/parts", FORM % b"123", old)
            clock.advance(OPEN_S - 1)
            young = await house.begun()
        clock.advance(1)
        async with served(tmp_path, clock) as house:
            gone = (house.folder / old).exists
            await asyncio.to_thread(wait_until, lambda: not gone(), "the end of its hour")
            with pytest.raises(NotFound):
                await house.ask("/v1/uploads/{id}/cancel", upload=old)
            assert (await house.ask("/v1/uploads/{id}/cancel", upload=young))["status"] == "cancelled"

    run(story())


def test_an_upload_is_its_projects_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path, ManualClock()) as house:
            mine = await house.begun()
            with pytest.raises(NotFound):
                await house.ask("/v1/uploads/{id}/cancel", upload=mine, project="other")

    run(story())


def test_a_project_has_so_many_pending_uploads_and_others_have_theirs(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path, ManualClock()) as house:
            ids = [await house.begun() for _ in range(OPEN_MAX)]
            with pytest.raises(QueueFull, match=f"{OPEN_MAX} and {LIVE_MAX} at most"):
                await house.begun()
            await house.begun("other")
            await house.ask("/v1/uploads/{id}/cancel", upload=ids[0])
            await house.begun()

    run(story())


def test_what_lies_in_the_folder_for_no_upload_is_swept(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path, ManualClock()) as house:
            (house.folder / "upload_of_nobody").mkdir()
            await house.operations.restore()
            assert list(house.folder.iterdir()) == []

    run(story())
