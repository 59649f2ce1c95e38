"""`/lambda-code/...`: the zip of a function or a layer, for whoever was given its address."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import BinaryIO, Final

from lambent.clock import Clock
from lambent.core.errors import LambentError, NotFound
from lambent.gateway.requests import Request
from lambent.gateway.responses import Reply, refusal
from lambent.storage.base import Artifacts
from lambent.wire.aws.downloads import FILE, PREFIX, digest_in

PIECE_BYTES: Final = 1024 * 1024


class Downloads:
    """Sends archives in pieces."""

    def __init__(self, artifacts: Artifacts, master: bytes, clock: Clock) -> None:
        self._artifacts: Final = artifacts
        self._master: Final = master
        self._clock: Final = clock

    def claims(self, request: Request) -> bool:
        """Whether an archive is asked for."""
        return request.path.startswith(PREFIX)

    async def answer(self, request: Request) -> Reply | None:
        """The archive. Raises `NotFound` for an address that is wrong or too old."""
        digest = digest_in(request.path, self._master, now_unix_s=self._clock.unix_ms() // 1000)
        if digest is None or request.method != "GET":
            raise NotFound("there is no such archive, or its address has expired: ask for a new one")
        folder = await asyncio.to_thread(self._artifacts.path, digest)
        file = await asyncio.to_thread((folder / FILE).open, "rb")
        try:
            await _send(request, file, (await asyncio.to_thread(Path(file.name).stat)).st_size)
        finally:
            await asyncio.to_thread(file.close)
        return None

    def refuse(self, request: Request, error: LambentError) -> Reply:
        """As our own API does."""
        return refusal(error)


async def _send(request: Request, file: BinaryIO, size_bytes: int) -> None:
    headers = [(b"content-type", b"application/zip"), (b"content-length", b"%d" % size_bytes)]
    await request.send({"type": "http.response.start", "status": 200, "headers": headers})
    while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
        await request.send({"type": "http.response.body", "body": piece, "more_body": True})
    await request.send({"type": "http.response.body", "body": b""})
