"""AWS's event streams: frames with headers, a payload and two checksums (`vnd.amazon.eventstream`).

u32 length of all · u32 length of the headers · u32 CRC of these · headers · payload · u32 CRC of all
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from lambent.core.invocation import JSON, OCTETS

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"
PRELUDE: Final = struct.Struct(">II")
CRC: Final = struct.Struct(">I")
STRING: Final = 7  # the type of every header that we send


def event(name: str, content_type: str, payload: bytes) -> bytes:
    """One event, as a frame."""
    headers = (
        (":event-type", name),
        (":content-type", content_type),
        (":message-type", "event"),
    )
    return frame(headers, payload)


def payload_chunk(payload: bytes) -> bytes:
    """A piece of a function's answer that streams."""
    return event("PayloadChunk", OCTETS, payload)


def invoke_complete(*, error_code: str = "", error_details: str = "", log_result: str = "") -> bytes:
    """The end of such an answer."""
    said = {"ErrorCode": error_code, "ErrorDetails": error_details, "LogResult": log_result}
    body = {name: text for name, text in said.items() if text}
    return event("InvokeComplete", JSON, msgspec.json.encode(body))


def payload_part(payload: bytes) -> bytes:
    """A piece of a SageMaker model's answer that streams."""
    return event("PayloadPart", OCTETS, payload)


def model_stream_error(message: str, error_code: str) -> bytes:
    """The end of such an answer whose model failed in the middle."""
    headers = (
        (":exception-type", "ModelStreamError"),
        (":content-type", JSON),
        (":message-type", "exception"),
    )
    return frame(headers, msgspec.json.encode({"Message": message, "ErrorCode": error_code}))


def frame(headers: Sequence[tuple[str, str]], payload: bytes) -> bytes:
    """Headers and payload with their lengths and checksums."""
    head = b"".join(_header(name.encode(), value.encode()) for name, value in headers)
    size = PRELUDE.size + 2 * CRC.size + len(head) + len(payload)
    prelude = PRELUDE.pack(size, len(head))
    checked = b"".join((prelude, CRC.pack(zlib.crc32(prelude)), head, payload))
    return checked + CRC.pack(zlib.crc32(checked))


def _header(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + bytes((STRING,)) + len(value).to_bytes(2, "big") + value
