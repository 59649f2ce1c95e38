"""A tar on its way to the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from lambent.client.archive import Archive, Packed
from lambent.client.transport import Transport

# The server answers when everything is on its disk, which for many small files takes minutes.
UPLOAD_TIMEOUT_S: Final = 900.0

# Told of bytes sent and bytes in all.
Sent = Callable[[int, int], None]


def upload(transport: Transport, path: str, archive: Archive | Packed, sent: Sent | None) -> bytes:
    """Post it; the body of the answer. Raises as `Transport.request` does, and `BundleError`."""
    size_bytes = archive.size_bytes
    answer = transport.request(
        "POST",
        path,
        timeout_s=UPLOAD_TIMEOUT_S,
        body=_counted(archive.chunks(), size_bytes, sent),
        headers={"content-type": "application/x-tar", "content-length": str(size_bytes)},
    )
    return answer.body


def _counted(chunks: Iterator[bytes], size_bytes: int, sent: Sent | None) -> Iterator[bytes]:
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if sent is not None:
            sent(done, size_bytes)
