"""What a model says, put together from its parts, and what is said of it where it fails."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol

import msgspec

from lambent.core.errors import CallerFault, LambentError, LoadFailed, NotFound, UserFault
from lambent.core.invocation import Outcome, Status
from lambent.wire.problem import OUTCOMES
from lambent.wire.skills import Json, Part, Said, Usage

TOO_MANY: Final = 429
# What may be raised over parts that a worker has written: it is the side that is not trusted.
UNREADABLE: Final = (msgspec.DecodeError, TypeError, ValueError, KeyError, AttributeError)
OWN_FAULT: Final = 500  # from here on a status is not the caller's fault


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no answer, before a protocol has put it in its own words.

    `retryable`: the same request may succeed a little later. `param` is the field of the request that it is
    about.
    """

    status: int
    code: str
    message: str
    param: str | None = None
    retryable: bool = False


class Teller(Protocol):
    """One answer in the words of a protocol: as a whole, or event by event."""

    def whole(self, said: Said) -> bytes:
        """The body of an answer that does not stream."""

    def begin(self) -> bytes:
        """The first events."""

    def part(self, part: Part) -> bytes:
        """The events of the next part."""

    def end(self) -> bytes:
        """The last events."""

    def trouble(self, trouble: Trouble) -> bytes:
        """The last events of an answer that breaks off."""

    def quiet(self) -> bytes:
        """What says nothing, and shows that somebody is there."""


class Refused(CallerFault):
    """A request that a protocol has its own status, code or field for."""

    def __init__(self, message: str, *, status: int = 400, code: str = "", param: str | None = None) -> None:
        super().__init__(message)
        self.http_status: Final = status
        self.error_code: Final = code
        self.param: Final = param


class Broken(UserFault):
    """An invocation ended without an answer."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.message)
        self.trouble: Final = trouble


def trouble_of(error: LambentError) -> Trouble:
    """An error of ours, or of code that could not be loaded."""
    if isinstance(error, Broken):
        return error.trouble
    if isinstance(error, Refused):
        return Trouble(
            status=error.http_status, code=error.error_code, message=error.message, param=error.param
        )
    message = error.message
    if isinstance(error, LoadFailed) and error.kind:
        message = f"{error.kind}: {message}"
    param = "model" if isinstance(error, NotFound) else None
    return Trouble(
        status=error.status, code=error.code, message=message, param=param, retryable=error.retryable
    )


def trouble_in(outcome: Outcome) -> Trouble | None:
    """Why an invocation has no answer, `None` where it has one."""
    if outcome.status is Status.OK:
        return None
    status, code = OUTCOMES[outcome.status]
    if outcome.head is not None:
        status = outcome.head.status
    message = f"{outcome.error.error_type}: {outcome.error.error_message}" if outcome.error else code
    if outcome.error is not None and status < OWN_FAULT:
        message = outcome.error.error_message
    return Trouble(status=status, code=code, message=message)


def unreadable(error: Exception) -> Trouble:
    """What is said of an answer that is none."""
    return Trouble(status=502, code="bad_answer", message=f"the worker's answer cannot be read: {error}")


class Gathered:
    """Parts of one answer, put together. Pieces of a tool's call are known by their `index`."""

    def __init__(self, index: int = 0) -> None:
        self._index: Final = index
        self._texts: Final[list[str]] = []
        self._reasoning: Final[list[str]] = []
        self._logprobs: Final[list[Json]] = []
        self._calls: Final[dict[int, Json]] = {}
        self._finish_reason = ""

    def add(self, part: Part) -> None:
        """The next part."""
        self._texts.append(part.text)
        self._reasoning.append(part.reasoning)
        self._logprobs.extend(part.logprobs)
        for piece in part.tool_calls:
            self._add_call(piece)
        self._finish_reason = part.finish_reason or self._finish_reason

    def whole(self) -> Part:
        """All of it as one part."""
        calls = [call for _, call in sorted(self._calls.items())]
        return Part(
            text="".join(self._texts),
            reasoning="".join(self._reasoning),
            tool_calls=calls,
            finish_reason=self._finish_reason or ("tool_calls" if calls else "stop"),
            logprobs=self._logprobs,
            index=self._index,
        )

    def _add_call(self, piece: Json) -> None:
        place = piece.get("index", len(self._calls))
        known = self._calls.get(place)
        function: Any = piece.get("function") or {}
        if known is None:
            self._calls[place] = {
                "id": piece.get("id") or f"call_{place}",
                "type": piece.get("type") or "function",
                "function": {"name": function.get("name") or "", "arguments": arguments_of(function)},
            }
        else:
            known["function"]["arguments"] += arguments_of(function)
            known["function"]["name"] += function.get("name") or ""


def arguments_of(function: Json) -> str:
    """The arguments of a call as JSON text, which is what clients expect, however the model gave them."""
    arguments = function.get("arguments")
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


class Tally:
    """What several answers used: of each, what it said last."""

    def __init__(self) -> None:
        self._each: Final[dict[int, Usage]] = {}

    def add(self, part: Part) -> None:
        """The next part of any of them."""
        if part.usage is not None:
            self._each[part.index] = part.usage

    def total(self) -> Usage | None:
        """Of all together; `None` where nobody said."""
        each = self._each.values()
        if not each:
            return None
        return Usage(
            sum(one.input_tokens for one in each),
            sum(one.output_tokens for one in each),
            sum(one.cached_tokens for one in each),
        )


def gather(parts: Iterable[Part]) -> Said:
    """What all parts come to. What was said of times stays as segments."""
    choices: dict[int, Gathered] = {}
    segments: list[Part] = []
    tally = Tally()
    for part in parts:
        choices.setdefault(part.index, Gathered(part.index)).add(part)
        if part.start_s is not None:
            segments.append(part)
        tally.add(part)
    return Said([choices[index].whole() for index in sorted(choices)], tally.total(), segments)
