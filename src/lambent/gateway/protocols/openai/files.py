"""`/v1/files` and `/v1/batches`: what each operation does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

from lambent.clock import Clock
from lambent.core.errors import NotFound
from lambent.core.invocation import Role, new_id
from lambent.gateway.protocols.openai.offline import Call, Content, Operation
from lambent.storage.files import Files
from lambent.wire.openai.asked import read
from lambent.wire.openai.batches import Batch, BatchBody
from lambent.wire.openai.files import StoredFile, page, read_upload
from lambent.wire.speech import Refused

Json = dict[str, Any]


class Batches(Protocol):
    """Who sees batches through."""

    async def begin(self, project: str, body: BatchBody, source: StoredFile) -> Batch:
        """A new one, on disk once this returns. Raises `QueueFull`, `StorageFull`."""

    async def find(self, project: str, batch: str) -> Batch:
        """One as it stands. Raises `NotFound`."""

    async def all(self, project: str) -> Sequence[Batch]:
        """Newest first."""

    async def cancel(self, project: str, batch: str) -> Batch:
        """Run no more of its lines. Raises `NotFound`, and `Conflict` where it has ended."""


class FileOperations:
    """Files are kept until they are deleted, or until the time that their upload said."""

    def __init__(self, files: Files, clock: Clock) -> None:
        self._files: Final = files
        self._clock: Final = clock

    def operations(self) -> Iterator[Operation]:
        """The table."""
        yield Operation("POST", "/v1/files", Role.INVOKE, self._upload)
        yield Operation("GET", "/v1/files", Role.READ, self._list)
        yield Operation("GET", "/v1/files/{id}", Role.READ, self._show)
        yield Operation("DELETE", "/v1/files/{id}", Role.INVOKE, self._delete)
        yield Operation("GET", "/v1/files/{id}/content", Role.READ, self._content)

    async def find(self, project: str, file: str) -> StoredFile:
        """Raises `NotFound`."""
        found = await asyncio.to_thread(self._files.find, project, file, now_unix_ms=self._clock.unix_ms())
        if found is None:
            raise NotFound(f"No such File object: {file}")
        return found

    async def _upload(self, call: Call) -> Json:
        return (await asyncio.to_thread(self._kept, call)).shown()

    def _kept(self, call: Call) -> StoredFile:
        asked = read_upload(call.content_type, call.body)
        now_unix_ms = self._clock.unix_ms()
        file = StoredFile(
            id="file-" + new_id().replace("-", ""),
            project=call.principal.project,
            purpose=asked.purpose,
            name=asked.name,
            size_bytes=len(asked.content),
            created_unix_ms=now_unix_ms,
            expires_unix_ms=None if asked.kept_s is None else now_unix_ms + asked.kept_s * 1000,
        )
        self._files.put(file, asked.content)
        return file

    async def _list(self, call: Call) -> Json:
        now_unix_ms = self._clock.unix_ms()
        found = await asyncio.to_thread(self._files.all, call.principal.project, now_unix_ms=now_unix_ms)
        purpose = call.query.get("purpose")
        shown = [one.shown() for one in found if not purpose or one.purpose == purpose]
        return page(_ordered(shown, call), call.query)

    async def _show(self, call: Call) -> Json:
        return (await self.find(call.principal.project, call.id)).shown()

    async def _delete(self, call: Call) -> Json:
        file = await self.find(call.principal.project, call.id)
        await asyncio.to_thread(self._files.remove, file.project, file.id)
        return {"id": file.id, "object": "file", "deleted": True}

    async def _content(self, call: Call) -> Content:
        return Content(self._files.path(await self.find(call.principal.project, call.id)))


class BatchOperations:
    """A batch is its file's requests, each run as an asynchronous invocation."""

    def __init__(self, files: FileOperations, batches: Batches) -> None:
        self._files: Final = files
        self._batches: Final = batches

    def operations(self) -> Iterator[Operation]:
        """The table."""
        yield Operation("POST", "/v1/batches", Role.INVOKE, self._begin)
        yield Operation("GET", "/v1/batches", Role.READ, self._list)
        yield Operation("GET", "/v1/batches/{id}", Role.READ, self._show)
        yield Operation("POST", "/v1/batches/{id}/cancel", Role.INVOKE, self._cancel)

    async def _begin(self, call: Call) -> Json:
        asked = read(call.body, BatchBody)
        asked.window_s()
        source = await self._files.find(call.principal.project, asked.input_file_id)
        if source.purpose != "batch":
            raise Refused(
                f"The file {source.id} has the purpose '{source.purpose}', and a batch's is 'batch'.",
                code="invalid_value",
                param="input_file_id",
            )
        return (await self._batches.begin(call.principal.project, asked, source)).shown()

    async def _list(self, call: Call) -> Json:
        found = await self._batches.all(call.principal.project)
        return page([one.shown() for one in found], call.query)

    async def _show(self, call: Call) -> Json:
        return (await self._batches.find(call.principal.project, call.id)).shown()

    async def _cancel(self, call: Call) -> Json:
        return (await self._batches.cancel(call.principal.project, call.id)).shown()


def _ordered(shown: list[Json], call: Call) -> list[Json]:
    return shown[::-1] if call.query.get("order") == "asc" else shown
