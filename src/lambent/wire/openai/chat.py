"""A chat completion, whole or in chunks."""

from __future__ import annotations

from typing import Any, Final

from lambent.wire.openai.errors import error_body
from lambent.wire.openai.events import COMMENT, DONE, Made, body, event, usage_of
from lambent.wire.skills import Json, Part, Said
from lambent.wire.speech import Tally, Trouble, arguments_of


class ChatTeller:
    """See `speech.Teller`."""

    def __init__(self, made: Made, *, choices: int, usage_wanted: bool) -> None:
        self._made: Final = made
        self._choices: Final = choices
        self._usage_wanted: Final = usage_wanted
        self._tally: Final = Tally()
        self._ends: Final[dict[int, str]] = {}
        self._called: Final[set[int]] = set()  # choices that call tools
        self._calls: Final[dict[int, int]] = {}  # of tools, until now, by choice

    def whole(self, said: Said) -> bytes:
        """`chat.completion`."""
        answer = self._head("chat.completion")
        answer["choices"] = [_choice(part) for part in said.choices]
        if said.usage is not None:
            answer["usage"] = usage_of(said.usage)
        return body(answer)

    def begin(self) -> bytes:
        """The role of each choice."""
        return b"".join(
            self._chunk(index, {"role": "assistant", "content": ""}) for index in range(self._choices)
        )

    def part(self, part: Part) -> bytes:
        """A chunk; what is only told at the end is kept."""
        self._tally.add(part)
        if part.finish_reason:
            self._ends[part.index] = part.finish_reason
        delta: Json = {}
        if part.text:
            delta["content"] = part.text
        if part.reasoning:
            delta["reasoning_content"] = part.reasoning
        if part.tool_calls:
            self._called.add(part.index)
            delta["tool_calls"] = [self._call(part.index, call) for call in part.tool_calls]
        if not delta:
            return b""
        return self._chunk(part.index, delta, logprobs=part.logprobs)

    def end(self) -> bytes:
        """Why each choice ended, and the usage where it is asked for."""
        events = [
            self._chunk(
                index,
                {},
                finish_reason=self._ends.get(index) or ("tool_calls" if index in self._called else "stop"),
            )
            for index in range(self._choices)
        ]
        if self._usage_wanted:
            usage = self._tally.total()
            last = self._head("chat.completion.chunk")
            last |= {"choices": [], "usage": usage_of(usage) if usage is not None else None}
            events.append(event(last))
        return b"".join([*events, DONE])

    def trouble(self, trouble: Trouble) -> bytes:
        """An error in place of what would have come; clients raise it."""
        return event(error_body(trouble))

    def quiet(self) -> bytes:
        """A comment."""
        return COMMENT

    def _head(self, kind: str) -> dict[str, Any]:
        made = self._made
        return {"id": made.id, "object": kind, "created": made.created_s, "model": made.model}

    def _chunk(
        self, index: int, delta: Json, *, finish_reason: str | None = None, logprobs: list[Json] | None = None
    ) -> bytes:
        chunk = self._head("chat.completion.chunk")
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": {"content": logprobs, "refusal": None} if logprobs else None,
            "finish_reason": finish_reason,
        }
        chunk["choices"] = [choice]
        if self._usage_wanted:
            chunk["usage"] = None
        return event(chunk)

    def _call(self, index: int, call: Json) -> Json:
        """A piece of a tool's call: one without an `index` is a call of its own, and whole."""
        function = call.get("function") or {}
        if "index" in call:
            self._calls[index] = max(self._calls.get(index, 0), call["index"] + 1)
            return call
        place = self._calls.get(index, 0)
        self._calls[index] = place + 1
        return {
            "index": place,
            "id": call.get("id") or f"call_{place}",
            "type": "function",
            "function": {"name": function.get("name") or "", "arguments": arguments_of(function)},
        }


def _choice(part: Part) -> Json:
    message: Json = {"role": "assistant", "content": part.text or (None if part.tool_calls else "")}
    message["refusal"] = None
    if part.reasoning:
        message["reasoning_content"] = part.reasoning
    if part.tool_calls:
        message["tool_calls"] = part.tool_calls
    return {
        "index": part.index,
        "message": message,
        "logprobs": {"content": part.logprobs, "refusal": None} if part.logprobs else None,
        "finish_reason": part.finish_reason,
    }
