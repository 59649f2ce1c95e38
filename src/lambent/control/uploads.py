"""Artifacts on their way in: streamed to a temporary file, unpacked in a thread, never whole in memory."""

from __future__ import annotations

import asyncio
import errno
import io
import tempfile
from collections.abc import AsyncIterable
from pathlib import Path
from typing import BinaryIO, Final

from lambent.core.errors import PayloadTooLarge, StorageFull
from lambent.storage.artifacts_tree import TooManyFiles, unpacked_bytes_max
from lambent.storage.base import ArtifactFacts, Artifacts

# Written in pieces of this size: a hop to a thread for each network read would cost more than the write.
PIECE_BYTES: Final = 1024 * 1024
ZIP_MAGIC: Final = b"PK\x03\x04"


class Uploads:
    """Takes archives. `work_dir` holds them while they arrive."""

    def __init__(self, artifacts: Artifacts, work_dir: Path, *, size_bytes_max: int) -> None:
        self._artifacts: Final = artifacts
        self._work_dir: Final = work_dir
        self._size_bytes_max: Final = size_bytes_max

    async def store(self, stream: AsyncIterable[bytes]) -> ArtifactFacts:
        """Keep an archive, a tar or a zip.

        Raises `PayloadTooLarge`, `StorageFull`, `CallerFault` for what is neither, or is not safe.
        """
        try:
            file = await asyncio.to_thread(self._open)
            try:
                await self._receive(stream, file)
                return await asyncio.to_thread(self._ingest, file)
            finally:
                await asyncio.to_thread(file.close)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise StorageFull("no room on the server's disk for this artifact; nothing was kept") from error

    async def _receive(self, stream: AsyncIterable[bytes], file: BinaryIO) -> None:
        piece = bytearray()
        size_bytes = 0
        async for chunk in stream:
            size_bytes += len(chunk)
            if size_bytes > self._size_bytes_max:
                raise PayloadTooLarge(f"the artifact is over the limit of {self._size_bytes_max} bytes")
            piece += chunk
            if len(piece) >= PIECE_BYTES:
                await asyncio.to_thread(file.write, bytes(piece))
                piece.clear()
        await asyncio.to_thread(file.write, bytes(piece))

    def _open(self) -> BinaryIO:
        self._work_dir.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=self._work_dir)

    def _ingest(self, file: BinaryIO) -> ArtifactFacts:
        file.seek(0)
        is_zip = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
        packed_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
        bytes_max = unpacked_bytes_max(packed_bytes, bytes_max=self._size_bytes_max)
        ingest = self._artifacts.ingest_zip if is_zip else self._artifacts.ingest_archive
        try:
            return ingest(file, size_bytes_max=bytes_max)
        except PayloadTooLarge as error:
            if bytes_max == self._size_bytes_max or isinstance(error, TooManyFiles):
                raise
            raise PayloadTooLarge(
                f"{error.message}: an archive of {packed_bytes} bytes that holds so much could be meant to "
                "fill the disk; send one that is not compressed"
            ) from error
