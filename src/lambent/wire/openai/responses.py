"""A response of OpenAI's newer API, whole or in its numbered events."""

from __future__ import annotations

from typing import Final

from lambent.wire.openai.errors import error_body
from lambent.wire.openai.events import COMMENT, Made, body, named_event
from lambent.wire.openai.responses_asked import ECHOED
from lambent.wire.skills import Json, Part, Said, Usage
from lambent.wire.speech import Gathered, Tally, Trouble


class ResponseTeller:
    """See `speech.Teller`. One item is open at a time: a message, a thought, or the call of a tool."""

    def __init__(self, made: Made, asked: Json) -> None:
        self._made: Final = made
        self._asked: Final = asked
        self._tally: Final = Tally()
        self._gathered: Final = Gathered()
        self._items: Final[list[_Item]] = []
        self._number = 0  # of the next event
        self._calls = 0  # calls of tools that have no `index`

    def whole(self, said: Said) -> bytes:
        """`response`."""
        part = said.choices[0] if said.choices else Part(finish_reason="stop")
        output: list[Json] = []
        if part.reasoning:
            output.append(_Item("reasoning", self._id("rs", 0), text=part.reasoning).whole())
        if part.text or not part.tool_calls:
            output.append(_Item("message", self._id("msg", len(output)), text=part.text).whole())
        for call in part.tool_calls:
            output.append(_call_item(call, self._id("fc", len(output))).whole())
        return body(self._response(output, part.finish_reason, said.usage))

    def begin(self) -> bytes:
        """The response, when nothing has been said."""
        empty = self._response([], None, None)
        return self._event("response.created", response=empty) + self._event(
            "response.in_progress", response=empty
        )

    def part(self, part: Part) -> bytes:
        """What is new of the item that is open, or the next item."""
        self._tally.add(part)
        self._gathered.add(part)
        events = b""
        if part.reasoning:
            events += self._said("reasoning", "reasoning", part.reasoning)
        if part.text:
            events += self._said("message", "message", part.text)
        for call in part.tool_calls:
            events += self._called(call)
        return events

    def end(self) -> bytes:
        """The ends of the last item and of the response."""
        events = b"" if self._items else self._opened(_Item("message", self._id("msg", 0)), "message")
        events += self._closed()
        reason = self._gathered.whole().finish_reason
        output = [item.whole() for item in self._items]
        response = self._response(output, reason, self._tally.total())
        return events + self._event(f"response.{response['status']}", response=response)

    def trouble(self, trouble: Trouble) -> bytes:
        """The response has failed."""
        said = error_body(trouble)["error"]
        response = self._response([item.whole() for item in self._items], None, self._tally.total())
        response["status"] = "failed"
        response["error"] = {"code": "server_error", "message": trouble.message}
        failed = self._event("response.failed", response=response)
        return failed + self._event("error", message=said["message"], code=said["code"], param=said["param"])

    def quiet(self) -> bytes:
        """A comment."""
        return COMMENT

    def _response(self, output: list[Json], reason: str | None, usage: Usage | None) -> Json:
        made, cut = self._made, reason == "length"
        status = "in_progress" if reason is None else "incomplete" if cut else "completed"
        found: Json = {
            "id": made.id,
            "object": "response",
            "created_at": made.created_s,
            "completed_at": made.created_s if status == "completed" else None,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "model": made.model,
            "output": output,
            "parallel_tool_calls": self._asked.get("parallel_tool_calls", True),
            "previous_response_id": None,
            "service_tier": "default",
            "store": False,
            "tool_choice": self._asked.get("tool_choice") or "auto",
            "tools": self._asked.get("tools") or [],
            "usage": _usage(usage) if reason is not None else None,
        }
        found |= {name: self._asked.get(name) for name in ECHOED}
        found["text"] = found["text"] or {"format": {"type": "text"}}
        found["truncation"] = found["truncation"] or "disabled"
        found["metadata"] = found["metadata"] or {}
        return found

    def _said(self, kind: str, key: str, text: str) -> bytes:
        prefix = "msg" if kind == "message" else "rs"
        events = self._opened(_Item(kind, self._id(prefix, len(self._items))), key)
        item = self._items[-1]
        item.text += text
        place = {"item_id": item.id, "output_index": len(self._items) - 1}
        if kind == "message":
            delta = self._event(
                "response.output_text.delta", **place, content_index=0, delta=text, logprobs=[]
            )
        else:
            delta = self._event("response.reasoning_text.delta", **place, content_index=0, delta=text)
        return events + delta

    def _called(self, call: Json) -> bytes:
        index = call.get("index")
        if index is None:
            index, self._calls = self._calls, self._calls + 1
        begun = _call_item(call, self._id("fc", len(self._items)))
        arguments, begun.text = begun.text, ""
        events = self._opened(begun, f"call {index}")
        item = self._items[-1]
        item.text += arguments
        if not arguments:
            return events
        place = {"item_id": item.id, "output_index": len(self._items) - 1}
        return events + self._event("response.function_call_arguments.delta", **place, delta=arguments)

    def _opened(self, item: _Item, key: str) -> bytes:
        """The events that begin an item, unless the one that is open goes on."""
        if self._items and self._items[-1].key == key:
            return b""
        events = self._closed()
        item.key = key
        self._items.append(item)
        place = len(self._items) - 1
        events += self._event("response.output_item.added", output_index=place, item=item.begun())
        if item.kind == "message":
            added = {"item_id": item.id, "output_index": place, "content_index": 0, "part": _text("")}
            events += self._event("response.content_part.added", **added)
        return events

    def _closed(self) -> bytes:
        if not self._items or self._items[-1].is_closed:
            return b""
        item = self._items[-1]
        item.is_closed = True
        place: Json = {"item_id": item.id, "output_index": len(self._items) - 1}
        events = b""
        if item.kind == "message":
            inside = place | {"content_index": 0}
            events += self._event("response.output_text.done", **inside, text=item.text, logprobs=[])
            events += self._event("response.content_part.done", **inside, part=_text(item.text))
        elif item.kind == "reasoning":
            events += self._event("response.reasoning_text.done", **place, content_index=0, text=item.text)
        else:
            done = place | {"arguments": item.text, "name": item.name}
            events += self._event("response.function_call_arguments.done", **done)
        whole = item.whole()
        return events + self._event(
            "response.output_item.done", output_index=place["output_index"], item=whole
        )

    def _event(self, kind: str, **fields: object) -> bytes:
        number, self._number = self._number, self._number + 1
        return named_event(kind, {"type": kind, "sequence_number": number, **fields})

    def _id(self, prefix: str, place: int) -> str:
        return f"{prefix}_{self._made.id.partition('_')[2]}{place}"


class _Item:
    """What a response puts out, as far as it has come. `text` is what is said, or a call's arguments."""

    __slots__ = ("call_id", "id", "is_closed", "key", "kind", "name", "text")

    def __init__(self, kind: str, item_id: str, *, text: str = "", name: str = "", call_id: str = "") -> None:
        self.kind, self.id, self.text, self.name, self.call_id = kind, item_id, text, name, call_id
        self.key = ""
        self.is_closed = False

    def begun(self) -> Json:
        """When it is new."""
        return _Item(self.kind, self.id, name=self.name, call_id=self.call_id).told("in_progress", [])

    def whole(self) -> Json:
        """When it is over, or has broken off."""
        return self.told("completed", [_text(self.text)])

    def told(self, status: str, content: list[Json]) -> Json:
        """With a status, and what a message has in it."""
        if self.kind == "message":
            found: Json = {"role": "assistant", "content": content}
        elif self.kind == "reasoning":
            thoughts = [{"type": "reasoning_text", "text": self.text}] if self.text else []
            found = {"summary": [], "content": thoughts}
        else:
            found = {"call_id": self.call_id, "name": self.name, "arguments": self.text}
        return {"id": self.id, "type": self.kind, "status": status, **found}


def _call_item(call: Json, item_id: str) -> _Item:
    gathered = Gathered()
    gathered.add(Part(tool_calls=[call]))
    (known,) = gathered.whole().tool_calls
    function = known["function"]
    return _Item(
        "function_call", item_id, text=function["arguments"], name=function["name"], call_id=known["id"]
    )


def _text(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(usage: Usage | None) -> Json:
    """What clients insist on finding; zeros where the model does not say."""
    known = usage or Usage()
    return {
        "input_tokens": known.input_tokens,
        "input_tokens_details": {"cached_tokens": known.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": known.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": known.input_tokens + known.output_tokens,
    }
