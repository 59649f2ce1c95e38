"""Requests that no client of AWS's would send: of every operation's shape, with values that do not fit."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
from botocore.model import OperationModel

DEPTH_MAX: Final = 5
# Values of every type of JSON, and texts that have broken somebody before.
ODD: Final[Sequence[Any]] = (
    None, True, 0, -1, 2**31, 2**63, 1e308, 0.5, "", " ", "x" * 300, "\u0000", "\ud7ff", "é", "../..", "{}",
    [], {}, [None], {"": None}, {"a": {"b": []}}, [[[]]],
)  # fmt: skip
BODIES: Final[Sequence[bytes]] = (
    b"",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"\xff\xfe",
    b"[" * 5000,
    b'{"a":1,"a":2}',
    b"1",
)


class Sent(msgspec.Struct, frozen=True):
    """One request."""

    method: str
    target: str
    body: bytes


class Fuzz:
    """Makes requests from a seed: the same ones every time."""

    def __init__(self, seed: str, names: Sequence[str]) -> None:
        """`names` are things that there are: functions, layers, ARNs, versions."""
        self._random: Final = random.Random(seed)
        self._names: Final = names

    def request(self, operation: OperationModel) -> Sent:
        """A request of this operation, of which little fits."""
        shape: Any = operation.input_shape
        path, _, fixed = operation.http["requestUri"].partition("?")
        query: list[tuple[str, str]] = [tuple(fixed.split("=", 1))] if fixed else []
        body: dict[str, Any] = {}
        for name, member in (shape.members if shape else {}).items():
            where = member.serialization.get("location")
            sent_as = member.serialization.get("name", name)
            if where == "uri":
                path = path.replace("{" + sent_as + "}", quote(self._label(member), safe="$"))
            elif where == "querystring" and self._chance(0.4):
                query.append((sent_as, self._text(member)))
            elif where is None and self._chance(0.97 if name in shape.required_members else 0.3):
                body[sent_as] = self._value(member, 0)
        raw = self._random.choice(BODIES) if self._chance(0.05) else _bytes(body)
        return Sent(operation.http["method"], path + ("?" + urlencode(query) if query else ""), raw)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _label(self, shape: Any) -> str:
        text = self._text(shape)
        return text if text.strip("/.") else "nobody"

    def _text(self, shape: Any) -> str:
        if self._chance(0.85):
            return self._random.choice(self._names)
        value = self._value(shape, 0)
        return value if isinstance(value, str) else json.dumps(value)

    def _value(self, shape: Any, depth: int) -> Any:
        if self._chance(0.04) or depth > DEPTH_MAX:
            return self._random.choice(ODD)
        match shape.type_name:
            case "structure":
                chosen = [
                    name for name in shape.members if name in shape.required_members or self._chance(0.6)
                ]
                return {name: self._value(shape.members[name], depth + 1) for name in chosen}
            case "list":
                return [self._value(shape.member, depth + 1) for _ in range(self._random.randint(0, 3))]
            case "map":
                return {
                    str(self._value(shape.key, depth + 1)): self._value(shape.value, depth + 1)
                    for _ in range(self._random.randint(0, 3))
                }
            case "string":
                return self._string(shape)
            case "integer" | "long" | "double" | "float" | "timestamp":
                return self._random.choice(self._numbers(shape))
            case "boolean":
                return self._chance(0.5)
            case _:  # bytes
                return base64.b64encode(self._random.randbytes(self._random.randint(0, 50))).decode()

    def _string(self, shape: Any) -> str:
        if shape.enum and not self._chance(0.08):
            return str(self._random.choice(shape.enum))
        high = min(shape.metadata.get("max", 20), 3000)
        return str(self._random.choice([*self._names, "a", "x" * high, "x" * (high + 1), ""]))

    def _numbers(self, shape: Any) -> Sequence[float]:
        low, high = int(shape.metadata.get("min", 0)), int(shape.metadata.get("max", 100))
        return [low, low - 1, high, high + 1, (low + high) // 2, 1]


def _bytes(body: object) -> bytes:
    return json.dumps(body).encode("utf-8", "surrogatepass")
