"""CloudEvents 1.0 over HTTP: events as headers and a body, as JSON, and several in one JSON list.

After the specification's HTTP binding (sections 3.1 to 3.3) and its JSON format (sections 2.2 to 4).
Attributes are text here, whatever their type: as such they travel in headers.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

import msgspec

from lambent.core.invocation import JSON

VERSION: Final = "1.0"
REQUIRED: Final = ("id", "source", "type")
PREFIX: Final = b"ce-"
MARK: Final = b"ce-specversion"
FAMILY: Final = b"application/cloudevents"
STRUCTURED: Final = "application/cloudevents+json"
BATCHED: Final = "application/cloudevents-batch+json"
BATCH_EVENTS_MAX: Final = 100
NAME: Final = re.compile(r"[a-z0-9]{1,100}")
VALUE_CHARACTERS_MAX: Final = 4096
# What a header's value may hold as it is (HTTP binding, section 3.1.3.2): printable ASCII but for three.
PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
SHOWN_CHARACTERS_MAX: Final = 60
# What no attribute holds (specification, section 3.1): controls, halves of characters, and what is none.
NONCHARACTERS: Final = "".join(
    chr(plane | low) for plane in range(0, 0x11_0000, 0x1_0000) for low in (0xFFFE, 0xFFFF)
)
UNSAYABLE: Final = re.compile(rf"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{NONCHARACTERS}]")
NEVER_EMPTY: Final = frozenset({"subject", "dataschema", "time"})
# RFC 3339 section 5.6.
TIME: Final = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)

Headers = Mapping[bytes, bytes]


class Mode(StrEnum):
    """How events lie in a message."""

    BINARY = "binary"  # attributes in headers, the data is the body
    STRUCTURED = "structured"  # all in one JSON object
    BATCHED = "batched"  # several of these in a list


class BadEvent(ValueError):
    """What was sent is no event, or one of another version or format."""


class Event(msgspec.Struct, frozen=True):
    """An event. `attributes` are all but `datacontenttype`, which is beside them; `data` is as that says."""

    attributes: Mapping[str, str]
    data: bytes = b""
    content_type: str = JSON


_objects: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_lists: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_texts: Final = msgspec.json.Decoder(str)
_values: Final = msgspec.json.Decoder(str | bool | int | None)


def mode_of(headers: Headers) -> Mode | None:
    """How the events of a request lie in it; `None` where it has none. Raises `BadEvent` for a format."""
    content_type = headers.get(b"content-type", b"")
    if content_type[: len(FAMILY)].lower() == FAMILY:
        essence = content_type.partition(b";")[0].strip().lower().decode("latin-1")
        if essence == STRUCTURED:
            return Mode.STRUCTURED
        if essence == BATCHED:
            return Mode.BATCHED
        raise BadEvent(f"{essence!r} is not read here; send {STRUCTURED}, {BATCHED} or ce-* headers")
    return Mode.BINARY if MARK in headers else None


def from_binary(headers: Headers, body: bytes) -> Event:
    """The event of a request whose attributes are headers. Raises `BadEvent`."""
    attributes = {
        name[len(PREFIX) :].decode("latin-1"): _unescaped(value)
        for name, value in headers.items()
        if name.startswith(PREFIX)
    }
    # Written by some beside the Content-Type, which is the one that counts.
    attributes.pop("datacontenttype", None)
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    return _checked(Event(attributes, body, content_type or JSON))


def from_structured(body: bytes) -> Event:
    """The event of a JSON object. Raises `BadEvent`."""
    try:
        return _from_members(_objects.decode(body))
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadEvent(f"the body is no event in JSON: {error}") from error


def from_batch(body: bytes) -> Sequence[Event]:
    """The events of a JSON list. Raises `BadEvent`."""
    try:
        members = _lists.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadEvent(f"the body is no list of events in JSON: {error}") from error
    if len(members) > BATCH_EVENTS_MAX:
        raise BadEvent(f"the batch has {len(members)} events; {BATCH_EVENTS_MAX} are read at once")
    return [_from_members(one) for one in members]


def headers_of(event: Event) -> list[tuple[bytes, bytes]]:
    """The headers of a message whose body is the event's data, its `Content-Type` among them."""
    told = [(PREFIX + name.encode(), _escaped(value)) for name, value in event.attributes.items()]
    return [(b"content-type", _escaped(event.content_type, plain=PLAIN + ' "')), *told]


def as_structured(event: Event) -> bytes:
    """The event as a JSON object."""
    members: dict[str, Any] = {**event.attributes, "datacontenttype": event.content_type}
    if _is_json(event.content_type):
        members["data"] = msgspec.Raw(event.data or b"null")
    elif event.content_type.startswith("text/"):
        members["data"] = event.data.decode("utf-8", "replace")
    else:
        members["data_base64"] = base64.b64encode(event.data).decode()
    return msgspec.json.encode(members)


def answered(body: bytes) -> Event | None:
    """The event that user code returned as a JSON object; `None` where it returned something else."""
    if b'"specversion"' not in body or not body.startswith(b"{"):
        return None
    try:
        return from_structured(body)
    except BadEvent:
        return None


def _from_members(members: Mapping[str, msgspec.Raw]) -> Event:
    attributes: dict[str, str] = {}
    for name, raw in members.items():
        if name not in ("data", "data_base64") and (value := _value(name, raw)) is not None:
            attributes[name] = value
    content_type = attributes.pop("datacontenttype", JSON)
    return _checked(Event(attributes, _data(members, content_type), content_type))


def _value(name: str, raw: msgspec.Raw) -> str | None:
    try:
        value = _values.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadEvent(f"the attribute {_shown(name)} is no text, number or boolean") from error
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if value is None else str(value)


def _data(members: Mapping[str, msgspec.Raw], content_type: str) -> bytes:
    """As it would be the body of a message of its own."""
    if "data_base64" in members:
        if "data" in members:
            raise BadEvent("an event has data or data_base64, not both")
        try:
            return base64.b64decode(_texts.decode(members["data_base64"]), validate=True)
        except (msgspec.DecodeError, binascii.Error, ValueError) as error:
            raise BadEvent(f"data_base64 is no text in base64: {error}") from error
    if "data" not in members:
        return b""
    raw = bytes(members["data"])
    if not _is_json(content_type) and raw.startswith(b'"'):
        return _texts.decode(raw).encode("utf-8", "surrogatepass")
    return raw


def _checked(event: Event) -> Event:
    said = event.attributes.get("specversion")
    if said != VERSION:
        raise BadEvent(f"specversion is {_shown(said or '')}; {VERSION!r} is read here")
    for name in REQUIRED:
        if not event.attributes.get(name):
            raise BadEvent(f"the event has no {name!r}")
    for name, value in event.attributes.items():
        if not NAME.fullmatch(name):
            raise BadEvent(f"{_shown(name)} is no attribute's name: those have a to z and 0 to 9")
        _check_value(name, value)
    _check_value("datacontenttype", event.content_type)
    return event


def _check_value(name: str, value: str) -> None:
    if len(value) > VALUE_CHARACTERS_MAX:
        raise BadEvent(f"{name!r} has more than {VALUE_CHARACTERS_MAX} characters")
    if found := UNSAYABLE.search(value):
        raise BadEvent(f"{name!r} holds U+{ord(found[0]):04X}, which no attribute may hold")
    if name in NEVER_EMPTY and not value:
        raise BadEvent(f"{name!r} is empty; what is not known is left out")
    if name == "time" and not _is_time(value):
        raise BadEvent(f"time is {_shown(value)}, which is no time of RFC 3339, as 2018-04-05T17:31:00Z is")


def _is_time(value: str) -> bool:
    said = TIME.fullmatch(value)
    if said is None:
        return False
    try:
        date.fromisoformat(said["date"])
    except ValueError:
        return False
    return True


def _is_json(content_type: str) -> bool:
    essence = content_type.partition(";")[0].strip().lower()
    return essence in (JSON, "text/json") or essence.endswith("+json")


def _unescaped(value: bytes) -> str:
    text = _decoded(value)
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    return _decoded(unquote_to_bytes(text)) if "%" in text else text


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise BadEvent(f"the attribute {_shown(value.decode('latin-1'))} is no text in UTF-8") from error


def _escaped(value: str, *, plain: str = PLAIN) -> bytes:
    return quote(value.encode("utf-8", "replace"), safe=plain).encode()


def _shown(text: str) -> str:
    return repr(text[:SHOWN_CHARACTERS_MAX])
