"""`/v1/uploads`: files larger than one request may be, in parts that come in any order and side by side."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.errors import LambentError, NotFound, QueueFull
from lambent.core.invocation import Role, new_id
from lambent.gateway.protocols.openai.offline import Call, Operation
from lambent.storage.uploads import PART, Uploads
from lambent.wire.openai.asked import read
from lambent.wire.openai.files import StoredFile
from lambent.wire.openai.uploads import (
    FORM_BYTES_MAX,
    OPEN_S,
    PART_BYTES_MAX,
    PARTS_MAX,
    CompleteBody,
    StoredUpload,
    UploadBody,
    UploadState,
    read_part,
    shown_part,
)
from lambent.wire.skills import Json
from lambent.wire.speech import Refused

LIVE_MAX: Final = 1000  # uploads of a project in an hour
OPEN_MAX: Final = 64  # of those, such as are pending

log = logging.getLogger(__name__)


class Live:
    """An upload whose hour is not over. Who holds `turn` may change it."""

    def __init__(self, upload: StoredUpload) -> None:
        self.upload = upload
        self.turn: Final = asyncio.Lock()


class UploadOperations:
    """An upload is there for an hour, in which it gets its parts and becomes a file."""

    def __init__(self, uploads: Uploads, clock: Clock, tasks: asyncio.TaskGroup) -> None:
        self._uploads: Final = uploads
        self._clock: Final = clock
        self._tasks: Final = tasks
        self._live: Final[dict[str, Live]] = {}

    def operations(self) -> Iterator[Operation]:
        """The table."""
        part_bytes_max = PART_BYTES_MAX + FORM_BYTES_MAX
        yield Operation("POST", "/v1/uploads", Role.INVOKE, self._begin)
        yield Operation(
            "POST", "/v1/uploads/{id}/parts", Role.INVOKE, self._add, body_bytes_max=part_bytes_max
        )
        yield Operation("POST", "/v1/uploads/{id}/complete", Role.INVOKE, self._complete)
        yield Operation("POST", "/v1/uploads/{id}/cancel", Role.INVOKE, self._cancel)

    async def restore(self) -> None:
        """At start: those that an earlier server has accepted go on."""
        for upload in await asyncio.to_thread(self._uploads.restore):
            live = self._live[upload.id] = Live(upload)
            self._forget_later(live)

    async def _begin(self, call: Call) -> Json:
        asked = read(call.body, UploadBody)
        asked.check()
        project = call.principal.project
        mine = [one.upload for one in self._live.values() if one.upload.project == project]
        pending = sum(one.state is UploadState.PENDING for one in mine)
        if len(mine) >= LIVE_MAX or pending >= OPEN_MAX:
            said = f"{pending} uploads pending and {len(mine)} of the last hour"
            raise QueueFull(f"the project has {said}: {OPEN_MAX} and {LIVE_MAX} at most", retry_after_s=60.0)
        now_unix_ms = self._clock.unix_ms()
        upload = StoredUpload(
            id="upload_" + new_id().replace("-", ""),
            project=project,
            purpose=asked.purpose,
            name=asked.filename,
            size_bytes=asked.bytes,
            created_unix_ms=now_unix_ms,
            expires_unix_ms=now_unix_ms + OPEN_S * 1000,
            file_kept_s=asked.kept_s(),
        )
        live = self._live[upload.id] = Live(upload)
        try:
            await asyncio.to_thread(self._uploads.begin, upload)
        except BaseException:
            del self._live[upload.id]
            raise
        self._forget_later(live)
        return upload.shown()

    async def _add(self, call: Call) -> Json:
        content = read_part(call.content_type, call.body)
        live = self._find(call)
        async with live.turn:
            upload = _pending(live)
            sizes = await asyncio.to_thread(self._uploads.parts, upload)
            if sum(sizes.values()) + len(content) > upload.size_bytes:
                raise Refused(
                    f"The parts have more than the {upload.size_bytes} bytes of {upload.id}.", param="data"
                )
            if len(sizes) >= PARTS_MAX:
                raise Refused(f"An upload has at most {PARTS_MAX} parts.", param="data")
            part = PART + new_id().replace("-", "")
            await asyncio.to_thread(self._uploads.add, upload, part, content)
        return shown_part(part, upload, created_unix_ms=self._clock.unix_ms())

    async def _complete(self, call: Call) -> Json:
        asked = read(call.body, CompleteBody)
        live = self._find(call)
        async with live.turn:
            if live.upload.state is UploadState.COMPLETED:  # it was answered before, and the answer was lost
                return live.upload.shown()
            upload = _pending(live)
            sizes = await asyncio.to_thread(self._uploads.parts, upload)
            _check_parts(upload, asked, sizes)
            found = await asyncio.to_thread(self._uploads.join, upload, asked.part_ids)
            if asked.md5 and asked.md5.lower() != found:
                raise Refused(f"The MD5 of the parts is {found}.", code="invalid_value", param="md5")
            file = self._file_of(upload)
            ended = msgspec.structs.replace(upload, state=UploadState.COMPLETED, file=file)
            await asyncio.to_thread(self._uploads.complete, ended, file)
            live.upload = ended
        return ended.shown()

    async def _cancel(self, call: Call) -> Json:
        live = self._find(call)
        async with live.turn:
            if live.upload.state is not UploadState.CANCELLED:
                ended = msgspec.structs.replace(_pending(live), state=UploadState.CANCELLED)
                await asyncio.to_thread(self._uploads.cancel, ended)
                live.upload = ended
        return live.upload.shown()

    def _find(self, call: Call) -> Live:
        live = self._live.get(call.id)
        if live is None or live.upload.project != call.principal.project:
            raise NotFound(f"No such Upload object: {call.id}; an upload is there for {OPEN_S} seconds")
        return live

    def _file_of(self, upload: StoredUpload) -> StoredFile:
        now_unix_ms = self._clock.unix_ms()
        kept_s = upload.file_kept_s
        return StoredFile(
            id="file-" + new_id().replace("-", ""),
            project=upload.project,
            purpose=upload.purpose,
            name=upload.name,
            size_bytes=upload.size_bytes,
            created_unix_ms=now_unix_ms,
            expires_unix_ms=None if kept_s is None else now_unix_ms + kept_s * 1000,
        )

    def _forget_later(self, live: Live) -> None:
        self._tasks.create_task(self._forget(live), name=f"forget {live.upload.id}")

    async def _forget(self, live: Live) -> None:
        """Once its hour is over."""
        await asyncio.sleep((live.upload.expires_unix_ms - self._clock.unix_ms()) / 1e3)
        async with live.turn:
            del self._live[live.upload.id]
            live.upload = msgspec.structs.replace(live.upload, state=UploadState.EXPIRED)
            try:
                await asyncio.to_thread(self._uploads.forget, live.upload)
            except LambentError as error:  # the next server finds it again
                log.warning("upload_not_forgotten", extra={"upload": live.upload.id, "reason": error.message})


def _pending(live: Live) -> StoredUpload:
    """Raises `Refused` where it has ended."""
    if live.upload.state is not UploadState.PENDING:
        raise Refused(f"The upload {live.upload.id} is {live.upload.state.value}.", code="invalid_state")
    return live.upload


def _check_parts(upload: StoredUpload, asked: CompleteBody, sizes: Mapping[str, int]) -> None:
    """Raises `Refused`."""
    unknown = next((part for part in asked.part_ids if part not in sizes), None)
    if unknown is not None:
        raise Refused(f"No such part of {upload.id}: {unknown[:80]}", code="invalid_value", param="part_ids")
    if len({*asked.part_ids}) != len(asked.part_ids):
        raise Refused("A part is named twice.", code="invalid_value", param="part_ids")
    size_bytes = sum(sizes[part] for part in asked.part_ids)
    if size_bytes != upload.size_bytes:
        raise Refused(
            f"The parts have {size_bytes} bytes, and {upload.id} was to have {upload.size_bytes}.",
            code="invalid_value",
            param="part_ids",
        )
