"""The prediction protocol V1: TensorFlow Serving's REST API, which KServe's first protocol is a part of.

After tensorflow/serving (`g3doc/api_rest.md`, `util/json_tensor.cc`, `http_rest_api_handler.cc`) and kserve
(`v1_endpoints.py`). What the door has read of a body travels to the worker in the content type of the call:
which verb is asked, and under which key the value lay that is sent on.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

import msgspec

from lambent.core.invocation import JSON
from lambent.wire import cloudevents
from lambent.wire.cloudevents import BadEvent, Event

PREFIX: Final = "/v1/models/"
PATH: Final = re.compile(
    r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>[0-9]{1,18})|/labels/(?P<label>[^/:]+))?"
    r"(?P<rest>:[A-Za-z]+|/metadata)?",
    re.IGNORECASE,
)
# What its clients send that is no path of it, such as a version that is no number.
MEANT: Final = re.compile(r"/v1/models/[^/:]+/(?:versions|labels|metadata)(?:[/:].*)?", re.IGNORECASE)
MARK: Final = f"{JSON}; v1="
TYPE: Final = re.compile(re.escape(MARK) + r"([a-z]+); key=([a-z]+); signature=([^\x00-\x1f\x7f]*)")
SIGNATURE_DEFAULT: Final = "serving_default"
SIGNATURE: Final = re.compile(r"[\x20-\x7e]{0,200}")
# Numbers that no standard of JSON knows, and that TensorFlow Serving takes and gives.
NOT_NUMBERS: Final = re.compile(rb"NaN|Infinity")


class Verb(StrEnum):
    """What is asked of a model."""

    PREDICT = "predict"
    CLASSIFY = "classify"
    REGRESS = "regress"
    EXPLAIN = "explain"


class Key(StrEnum):
    """Where in the body the value lay, and with it the form of the answer."""

    INSTANCES = "instances"  # rows, answered by `predictions`
    INPUTS = "inputs"  # columns, answered by `outputs`
    EXAMPLES = "examples"  # rows by name, answered by `results`
    WHOLE = "whole"  # the body itself, which the worker is to take apart


class Asked(msgspec.Struct, frozen=True):
    """What a call asks of a model."""

    verb: Verb
    key: Key
    signature: str = ""

    @property
    def alone(self) -> bool:
        """Whether it is no call like any other of the same model."""
        return self.verb is not Verb.PREDICT or self.key is Key.WHOLE or bool(self.signature)


class BadRequest(ValueError):
    """A body that is none of this protocol."""


class Body(msgspec.Struct, frozen=True):
    """The members of a body that count. All of `specversion` and so on are there in a structured event."""

    instances: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    examples: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    context: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    signature_name: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    specversion: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    source: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Health(msgspec.Struct, frozen=True):
    """`StatusProto`."""

    error_code: str = "OK"
    error_message: str = ""


class VersionStatus(msgspec.Struct, frozen=True):
    """How one version of a model stands."""

    version: str
    state: str = "AVAILABLE"
    status: Health = Health()


class ModelStatus(msgspec.Struct, frozen=True):
    """`GetModelStatusResponse`."""

    model_version_status: tuple[VersionStatus, ...]


_bodies: Final = msgspec.json.Decoder(Body)
_texts: Final = msgspec.json.Decoder(str)


def content_type_of(asked: Asked) -> str:
    """How a worker is told. See `asked_of`."""
    return f"{MARK}{asked.verb}; key={asked.key}; signature={asked.signature}"


def asked_of(content_type: str) -> Asked | None:
    """What `content_type_of` said; `None` for any other type."""
    if not content_type.startswith(MARK):
        return None
    match = TYPE.fullmatch(content_type)
    if match is None or match[1] not in tuple(Verb) or match[2] not in tuple(Key):
        return None
    return Asked(Verb(match[1]), Key(match[2]), match[3])


def read(verb: Verb, body: bytes) -> tuple[Asked, bytes]:
    """What a body asks, and the part of it that is for the model. Raises `BadRequest`."""
    if not body:
        raise BadRequest("JSON Parse error: The document is empty")
    try:
        members = _bodies.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        if NOT_NUMBERS.search(body) and not isinstance(error, msgspec.ValidationError):
            return Asked(verb, Key.WHOLE), body
        if isinstance(error, msgspec.ValidationError):
            raise BadRequest(f"JSON Value: {_shown(body)} Is not object") from error
        raise BadRequest(f"JSON Parse error: {error}") from error
    signature = _signature(members)
    if verb in (Verb.CLASSIFY, Verb.REGRESS):
        if members.context is not msgspec.UNSET:
            return Asked(verb, Key.WHOLE, signature), body
        return Asked(verb, Key.EXAMPLES, signature), _list(verb, Key.EXAMPLES, members.examples, body)
    if members.instances is not msgspec.UNSET:
        if members.inputs is not msgspec.UNSET:
            raise BadRequest(
                f"JSON Value: {_shown(body)} Not formatted correctly expecting only "
                "one of 'inputs' or 'instances' keys to exist "
            )
        return Asked(verb, Key.INSTANCES, signature), _list(verb, Key.INSTANCES, members.instances, body)
    if members.inputs is not msgspec.UNSET:
        return Asked(verb, Key.INPUTS, signature), bytes(members.inputs)
    raise BadRequest("Missing 'inputs' or 'instances' key")


def check(body: bytes) -> None:
    """Raise `BadRequest` for what is no JSON object, and so nothing for a function either."""
    try:
        _bodies.decode(body)
    except msgspec.ValidationError as error:
        raise BadRequest(f"JSON Value: {_shown(body)} Is not object") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"JSON Parse error: {error}") from error


def event_of(body: bytes) -> Event | None:
    """The event that a body is though no header says so: KServe looks for its members, too."""
    if b'"specversion"' not in body:
        return None
    try:
        members = _bodies.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    if msgspec.UNSET in (members.specversion, members.source, members.data):
        return None
    try:
        return cloudevents.from_structured(body)
    except BadEvent:
        return None


def _signature(members: Body) -> str:
    """The one that is asked for; empty for the one that everybody asks for."""
    if members.signature_name is msgspec.UNSET:
        return ""
    try:
        name = _texts.decode(members.signature_name)
    except msgspec.DecodeError as error:
        raise BadRequest("'signature_name' key must be a string value.") from error
    if not SIGNATURE.fullmatch(name):
        raise BadRequest(f"'signature_name' is {_shown(name.encode())}; it is up to 200 characters of ASCII")
    return "" if name == SIGNATURE_DEFAULT else name


def _list(verb: Verb, key: Key, raw: msgspec.Raw | msgspec.UnsetType, body: bytes) -> bytes:
    value = b"" if raw is msgspec.UNSET else bytes(raw)
    if not value:
        raise BadRequest(
            f"JSON Value: {_shown(body)} When method is {verb}, key '{key}' is expected and was not found"
        )
    if not value.startswith(b"["):
        raise BadRequest(f"JSON Value: {_shown(body)} Expecting '{key}' to be an list/array")
    if not value[1:-1].strip():
        raise BadRequest(f"JSON Value: {_shown(body)} No values in '{key}' array")
    return value


def _shown(body: bytes) -> str:
    return body[:100].decode("utf-8", "replace")
