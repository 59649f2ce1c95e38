"""What functions answer to HTTP: a response with a status, or whatever is taken for the body of one."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Final

import msgspec

from lambent.core.invocation import JSON, OCTETS
from lambent.wire.typed import from_json

NULS: Final = b"\0" * 8  # between the head and the body of an answer that streams
PRELUDE_BYTES_MAX: Final = 64 * 1024
# Said by the server, or of one connection only.
NOT_THEIRS: Final = frozenset({"content-length", "connection", "keep-alive", "transfer-encoding", "upgrade"})

HEADER_NAME: Final = re.compile(
    r"[!#$%&'*+.^_`|~0-9a-z-]+"
)  # a token, in lower case (RFC 9110, section 5.6.2)
HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")

SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_skim: Final = msgspec.json.Decoder(msgspec.Raw)

HeaderValue = str | int | float | bool | None


class Unanswerable(ValueError):
    """The function gave something that is no response of HTTP; the client hears 502."""


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """A response as functions write it, in payload format 1.0 or 2.0."""

    status_code: int | str
    headers: dict[str, HeaderValue] | None = None
    multi_value_headers: dict[str, list[HeaderValue]] | None = None
    cookies: list[str] | None = None
    body: msgspec.Raw = msgspec.Raw(b"null")
    is_base64_encoded: bool | None = None


class HttpAnswer(msgspec.Struct, frozen=True):
    """A response as it goes out. Names of headers are in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""


def answer_of(result: bytes, content_type: str) -> HttpAnswer:
    """A function's result as a response.

    JSON without a `statusCode` is itself the body, a string without its quotes, as AWS answers; so is what
    is not JSON. Raises `Unanswerable`.
    """
    if content_type == JSON:
        result = _in_characters(result)
        if says_status(result):
            return head_of(result)
        if result.startswith(b'"'):
            result = _unquoted(result)
    return HttpAnswer(200, (("content-type", content_type or OCTETS),), result)


def says_status(result: bytes) -> bool:
    """Whether it is JSON with a `statusCode`, and so a response."""
    if b'"statusCode"' not in result:
        return False
    try:
        return "statusCode" in from_json(result, dict[str, msgspec.Raw])
    except msgspec.DecodeError:  # a list or a string in which the word stands
        return False


def head_of(text: bytes, *, default_type: str = JSON) -> HttpAnswer:
    """A response that says its status. Raises `Unanswerable`."""
    try:
        given = from_json(text, Given)
        status = int(given.status_code)
    except (msgspec.DecodeError, ValueError) as error:
        raise Unanswerable(f"it is no response: {error}") from error
    if not 200 <= status <= 599:  # what is below is no answer yet
        raise Unanswerable(f"{status} is no status of HTTP")
    headers = _headers(given)
    if not any(name == "content-type" for name, _ in headers):
        headers.append(("content-type", default_type))
    headers += [("set-cookie", cookie) for cookie in given.cookies or ()]
    for name, value in headers:
        if not (HEADER_NAME.fullmatch(name) and HEADER_VALUE.fullmatch(value)):
            raise Unanswerable(f"{name!r} is a header that HTTP cannot hold")
    return HttpAnswer(status, tuple(headers), _body(given))


def split_prelude(beginning: bytes) -> tuple[HttpAnswer, bytes] | None:
    """The head of an answer that streams and what follows it, or None where it begins with no head.

    Raises `Unanswerable` where there is a head that is none.
    """
    head, nuls, rest = beginning.partition(NULS)
    if not nuls or not head.lstrip().startswith(b"{"):
        return None
    said = from_prelude(head)
    return said, rest


def from_prelude(head: bytes) -> HttpAnswer:
    """The head of an answer that streams; without a status it is 200. Raises `Unanswerable`."""
    try:
        given = from_json(head, dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise Unanswerable(f"the head of the stream is no JSON: {error}") from error
    whole = msgspec.json.encode({"statusCode": 200, **given})
    return head_of(whole, default_type=OCTETS)


def _unquoted(text: bytes) -> bytes:
    """A JSON string's own text; what is no JSON after all stays as it is."""
    try:
        return from_json(text, str).encode()
    except msgspec.DecodeError:
        return text


def _in_characters(text: bytes) -> bytes:
    """Halves of surrogate pairs, which JSON can write and UTF-8 cannot, become U+FFFD."""
    if not SURROGATE.search(text):
        return text
    try:
        _skim.decode(text)
    except (msgspec.DecodeError, RecursionError):
        try:
            halves = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
        except (ValueError, RecursionError):
            return text
        return halves.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    return text


def _headers(given: Given) -> list[tuple[str, str]]:
    found: dict[str, list[str]] = {}
    for name, value in (given.headers or {}).items():
        found[name.lower()] = [_text(value)]
    for name, values in (given.multi_value_headers or {}).items():  # these win, as at API Gateway
        found[name.lower()] = [_text(value) for value in values]
    return [(name, value) for name, values in found.items() if name not in NOT_THEIRS for value in values]


def _text(value: HeaderValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _body(given: Given) -> bytes:
    raw = bytes(given.body)
    if raw == b"null":
        return b""
    if not raw.startswith(b'"'):
        return raw  # an object, which its author forgot to write as text
    text = from_json(raw, str)
    if not given.is_base64_encoded:
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unanswerable(f"its body is no base64: {error}") from error
