"""Spans as OTLP/HTTP sends them: `ExportTraceServiceRequest` of opentelemetry-proto 1.x, as protobuf.

Written by hand, since a message has a dozen fields and the libraries for it cost every server their memory
(docs/decisions has the numbers). The tests read what this writes with opentelemetry-proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import Final

from lambent.core.spans import Span, Value

CONTENT_TYPE: Final = "application/x-protobuf"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.43.0"
KNOWN_MAX: Final = 4096  # shared attributes that are kept as bytes
TEXT_BYTES_MAX: Final = 4096

Shared = tuple[tuple[str, str], ...]

_FIXED64: Final = Struct("<Q")
_FIXED32: Final = Struct("<I")
_DOUBLE: Final = Struct("<d")
_ERROR: Final = b"\x18\x02"  # Status.code
_VARINT, _LENGTH = 0, 2


class Encoder:
    """Writes requests of one resource: of whom the spans are, and which program measured them."""

    def __init__(self, resource: Mapping[str, Value], *, name: str, version: str) -> None:
        attributes = b"".join(field(b"\x0a", key_value(key, value)) for key, value in resource.items())
        scope = field(b"\x0a", name.encode()) + field(b"\x12", version.encode())
        self._resource: Final = field(b"\x0a", attributes)
        self._scope: Final = field(b"\x0a", scope)
        self._schema: Final = field(b"\x1a", SCHEMA_URL.encode())
        self._known: Final[dict[Shared, bytes]] = {}

    def written(self, spans: Iterable[Span]) -> bytes:
        """These spans, to be joined with others and put into a request."""
        if len(self._known) > KNOWN_MAX:
            self._known.clear()
        return b"".join([field(b"\x12", self._span(span)) for span in spans])

    def request(self, written: Iterable[bytes]) -> bytes:
        """One request with spans, or metrics, that were written."""
        scoped = field(b"\x12", b"".join([self._scope, *written, self._schema]))
        return field(b"\x0a", self._resource + scoped + self._schema)

    def _span(self, span: Span) -> bytes:
        parts = [
            b"\x0a\x10",
            bytes.fromhex(span.trace_id),
            b"\x12\x08",
            bytes.fromhex(span.span_id),
            field(b"\x2a", _text(span.name)),
            b"\x30%c\x39" % span.kind,
            _FIXED64.pack(span.start_unix_ns),
            b"\x41",
            _FIXED64.pack(span.end_unix_ns),
            b"\x85\x01",
            _FIXED32.pack(span.flags),
        ]
        if span.state:
            parts.append(field(b"\x1a", span.state.encode()))
        if span.parent_id:
            parts.append(b"\x22\x08" + bytes.fromhex(span.parent_id))
        for key, value in span.attributes.items():
            parts.append(field(b"\x4a", key_value(key, value)))
        if span.shared:
            parts.append(self._known.get(span.shared) or self._learn(span.shared))
        if span.error is not None:
            parts.append(field(b"\x7a", field(b"\x12", _text(span.error)) + _ERROR))
        return b"".join(parts)

    def _learn(self, shared: Shared) -> bytes:
        written = b"".join(field(b"\x4a", key_value(key, value)) for key, value in shared if value)
        self._known[shared] = written
        return written


def rejected(response: bytes) -> int:
    """How many spans or points a receiver that answered 200 says it did not take; 0 for no such answer."""
    for number, value in _fields(response):
        if number == 1 and isinstance(value, bytes):
            return sum(count for inner, count in _fields(value) if inner == 1 and isinstance(count, int))
    return 0


def key_value(key: str, value: Value) -> bytes:
    """An attribute: `KeyValue`."""
    if isinstance(value, bool):
        any_value = b"\x10\x01" if value else b"\x10\x00"
    elif isinstance(value, int):
        any_value = b"\x18" + _varint(value % 2**64)
    elif isinstance(value, float):
        any_value = b"\x21" + _DOUBLE.pack(value)
    else:
        any_value = field(b"\x0a", _text(value))
    return field(b"\x0a", key.encode()) + field(b"\x12", any_value)


def _text(text: str) -> bytes:
    """As UTF-8, which protobuf insists on, and within a bound."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= TEXT_BYTES_MAX:
        return encoded
    return encoded[:TEXT_BYTES_MAX].decode("utf-8", "ignore").encode()


def field(tag: bytes, content: bytes) -> bytes:
    """A field of a message that has a length: text, bytes, a message, packed numbers."""
    size = len(content)
    return tag + (bytes((size,)) if size < 128 else _varint(size)) + content


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


def _fields(message: bytes) -> Iterable[tuple[int, int | bytes]]:
    """The fields of a message with numbers or bytes in them, up to where it makes no sense."""
    place = 0
    while place < len(message):
        tag, place = _read_varint(message, place)
        value, place = _read_varint(message, place)
        if tag & 7 == _VARINT:
            yield tag >> 3, value
        elif tag & 7 == _LENGTH and place + value <= len(message):
            yield tag >> 3, message[place : place + value]
            place += value
        else:
            return


def _read_varint(message: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while place < len(message) and shift < 64:
        byte = message[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    return number, place
