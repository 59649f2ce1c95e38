"""What Anthropic's clients send, and the same in the words that models hear.

Source: Anthropic's API reference; what its client sends was seen with anthropic 2.12.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from lambent.wire.skills import Json, text_of
from lambent.wire.speech import Refused


class MessagesBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/messages`."""

    messages: Annotated[list[Json], msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None  # where tokens are counted, there is none
    model: str = ""
    system: str | list[Json] | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    tools: list[Json] | None = None
    tool_choice: Json | None = None

    def chat(self) -> bytes:
        """The same for a model's `chat`. Raises `Refused` where nothing is left that a model hears."""
        spoken = [*self._spoken()]
        if not spoken:
            raise Refused("messages: there is no content in them of a type that is known here")
        body: Json = {"messages": [*self._system(), *spoken], "stream": bool(self.stream)}
        for name, value in (
            ("model", self.model or None),
            ("max_tokens", self.max_tokens),
            ("stop", self.stop_sequences),
            ("temperature", self.temperature),
            ("top_p", self.top_p),
            ("top_k", self.top_k),
            ("tools", [_tool(tool) for tool in self.tools or () if "input_schema" in tool] or None),
            ("tool_choice", _choice(self.tool_choice)),
        ):
            if value is not None:
                body[name] = value
        return msgspec.json.encode(body)

    def _system(self) -> Iterator[Json]:
        text = text_of(self.system)
        if text:
            yield {"role": "system", "content": text}

    def _spoken(self) -> Iterator[Json]:
        for message in self.messages:
            role, content = message.get("role", "user"), message.get("content")
            if not isinstance(content, list):
                yield {"role": role, "content": content or ""}
                continue
            blocks = [block for block in content if isinstance(block, dict)]
            if role == "assistant":
                yield _said(blocks)
            else:
                yield from _heard(role, blocks)


def _said(blocks: list[Json]) -> Json:
    calls = [
        {
            "id": block.get("id", ""),
            "type": "function",
            "function": {
                "name": block.get("name", ""),
                "arguments": msgspec.json.encode(block.get("input") or {}).decode(),
            },
        }
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    message: Json = {"role": "assistant", "content": text_of(blocks)}
    if calls:
        message["tool_calls"] = calls
    return message


def _heard(role: Any, blocks: list[Json]) -> Iterator[Json]:
    """What tools have answered are messages of their own."""
    for block in blocks:
        if block.get("type") == "tool_result":
            said = text_of(block.get("content"))
            yield {"role": "tool", "tool_call_id": block.get("tool_use_id", ""), "content": said}
    parts = [part for block in blocks if (part := _part(block)) is not None]
    if all(part["type"] == "text" for part in parts):
        text = "".join(part["text"] for part in parts)
        if text or not blocks:
            yield {"role": role, "content": text}
    else:
        yield {"role": role, "content": parts}


def _part(block: Json) -> Json | None:
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    match block.get("type"):
        case "text":
            return {"type": "text", "text": str(block.get("text", ""))}
        case "document" if source.get("type") == "text":
            return {"type": "text", "text": str(source.get("data", ""))}
        case "image":
            url = source.get("url") or f"data:{source.get('media_type')};base64,{source.get('data')}"
            return {"type": "image_url", "image_url": {"url": url}}
        case _:
            return None


def _tool(tool: Json) -> Json:
    function = {
        "name": tool.get("name", ""),
        "description": tool.get("description", ""),
        "parameters": tool["input_schema"],
    }
    return {"type": "function", "function": function}


def _choice(choice: Json | None) -> Any:
    if choice is None:
        return None
    match choice.get("type"):
        case "any":
            return "required"
        case "tool":
            return {"type": "function", "function": {"name": choice.get("name", "")}}
        case "none":
            return "none"
        case _:
            return "auto"
