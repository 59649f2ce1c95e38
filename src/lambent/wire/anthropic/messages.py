"""A message of Anthropic's, whole or in events."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from lambent.wire.anthropic.plain import error_body
from lambent.wire.openai.events import body, named_event
from lambent.wire.skills import Json, Part, Said, Usage
from lambent.wire.speech import Gathered, Tally, Trouble

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
)


class MessageTeller:
    """See `speech.Teller`. One block is open at a time: text, thought, or the call of a tool."""

    def __init__(self, message_id: str, model: str, request_id: str) -> None:
        self._id: Final = message_id
        self._model: Final = model
        self._request_id: Final = request_id
        self._tally: Final = Tally()
        self._open = ""  # the kind of the block that is open, and for a tool's its call
        self._count = 0  # blocks until now
        self._finish_reason = ""
        self._calls = 0  # calls of tools that have no `index`

    def whole(self, said: Said) -> bytes:
        """`message`."""
        part = said.choices[0] if said.choices else Part(finish_reason="stop")
        content: list[Json] = []
        if part.reasoning:
            content.append({"type": "thinking", "thinking": part.reasoning, "signature": ""})
        if part.text:
            content.append({"type": "text", "text": part.text})
        content.extend(_tool_use(call) for call in part.tool_calls)
        message = self._message(content, REASONS.get(part.finish_reason, "end_turn"))
        return body(message | {"usage": _usage(said.usage)})

    def begin(self) -> bytes:
        """The message without its content."""
        message = self._message([], None) | {"usage": _usage(None)}
        start = named_event("message_start", {"type": "message_start", "message": message})
        return start + self.quiet()

    def part(self, part: Part) -> bytes:
        """What is new of the block that is open, or the next block."""
        self._tally.add(part)
        self._finish_reason = part.finish_reason or self._finish_reason
        events = b""
        if part.reasoning:
            block = {"type": "thinking", "thinking": "", "signature": ""}
            events += self._in_block("thinking", block)
            events += self._delta({"type": "thinking_delta", "thinking": part.reasoning})
        if part.text:
            events += self._in_block("text", {"type": "text", "text": ""})
            events += self._delta({"type": "text_delta", "text": part.text})
        for call in part.tool_calls:
            events += self._called(call)
        return events

    def end(self) -> bytes:
        """Why it ended, and what it used."""
        called = self._open.startswith("tool_use")
        reason = REASONS.get(self._finish_reason, "end_turn")
        delta = {
            "stop_reason": "tool_use" if called and not self._finish_reason else reason,
            "stop_sequence": None,
        }
        last = {"type": "message_delta", "delta": delta, "usage": _usage(self._tally.total())}
        nothing = b"" if self._count else self._in_block("text", {"type": "text", "text": ""})
        return b"".join(
            [
                nothing,  # clients expect a block
                self._close(),
                named_event("message_delta", last),
                named_event("message_stop", {"type": "message_stop"}),
            ]
        )

    def trouble(self, trouble: Trouble) -> bytes:
        """An error in place of what would have come."""
        return named_event("error", error_body(trouble, self._request_id))

    def quiet(self) -> bytes:
        """Anthropic's own sign of life."""
        return named_event("ping", {"type": "ping"})

    def _message(self, content: list[Json], reason: str | None) -> Json:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
        }

    def _called(self, call: Json) -> bytes:
        place = call.get("index")
        if place is None:
            place, self._calls = self._calls, self._calls + 1
        whole = Gathered()
        whole.add(Part(tool_calls=[call]))
        (known,) = whole.whole().tool_calls
        block = {"type": "tool_use", "id": known["id"], "name": known["function"]["name"], "input": {}}
        events = self._in_block(f"tool_use {place}", block)
        arguments = known["function"]["arguments"]
        if arguments:
            events += self._delta({"type": "input_json_delta", "partial_json": arguments})
        return events

    def _in_block(self, kind: str, block: Json) -> bytes:
        if self._open == kind:
            return b""
        closed = self._close()
        self._open, self._count = kind, self._count + 1
        start = {"type": "content_block_start", "index": self._count - 1, "content_block": block}
        return closed + named_event("content_block_start", start)

    def _delta(self, delta: Json) -> bytes:
        value = {"type": "content_block_delta", "index": self._count - 1, "delta": delta}
        return named_event("content_block_delta", value)

    def _close(self) -> bytes:
        if not self._open:
            return b""
        stop = {"type": "content_block_stop", "index": self._count - 1}
        return named_event("content_block_stop", stop)


def _tool_use(call: Json) -> Json:
    function = call["function"]
    try:
        arguments = msgspec.json.decode(function["arguments"] or "{}")
    except msgspec.DecodeError:  # a small model writes what it likes
        arguments = {"arguments": function["arguments"]}
    return {"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments}


def _usage(usage: Usage | None) -> Json:
    """What clients insist on finding; zeros where the model does not say."""
    known = usage or Usage()
    return {
        "input_tokens": known.input_tokens - known.cached_tokens,
        "output_tokens": known.output_tokens,
        "cache_read_input_tokens": known.cached_tokens,
        "cache_creation_input_tokens": 0,
    }
