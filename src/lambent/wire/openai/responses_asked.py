"""`POST /v1/responses`: what is sent, and the same in the words that models hear."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from lambent.wire.openai.asked import Tokens
from lambent.wire.skills import Json, text_of
from lambent.wire.speech import Refused

# What a response tells back as it was sent, null where it was not.
ECHOED = (
    "access_programs", "background", "conversation", "image", "input_transformations", "instructions",
    "max_output_tokens", "max_tool_calls", "metadata", "moderation", "prompt", "prompt_cache_diagnostics",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier",
    "temperature", "text", "tool_usage", "top_logprobs", "top_p", "truncation", "user",
)  # fmt: skip


class ResponsesBody(msgspec.Struct, frozen=True, kw_only=True):
    """A request. `model` may be missing where there is one model that can chat."""

    input: str | list[Json] = ""
    model: str | None = None
    instructions: str | list[Json] | None = None
    max_output_tokens: Tokens = None
    temperature: float | None = None
    top_p: float | None = None
    tools: list[Json] | None = None
    tool_choice: Any = None
    text: Json | None = None
    stream: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: Any = None

    def chat(self) -> bytes:
        """The same for a model's `chat`.

        Raises `Refused` where there is no message, and for what would need that it was kept.
        """
        for name in ("previous_response_id", "conversation", "background"):
            if getattr(self, name):
                message = f"'{name}' needs responses that are kept, and none is: send the whole input"
                raise Refused(message, code="unsupported_parameter", param=name)
        messages = [*self._instructed(), *self._heard()]
        if not messages:
            raise Refused("'input' has no message", param="input")
        body: Json = {"messages": messages, "stream": bool(self.stream)}
        for name, value in (
            ("model", self.model),
            ("max_tokens", self.max_output_tokens),
            ("temperature", self.temperature),
            ("top_p", self.top_p),
            ("tools", [_tool(tool) for tool in self.tools or () if tool.get("type") == "function"] or None),
            ("tool_choice", _choice(self.tool_choice)),
            ("response_format", _format(self.text)),
        ):
            if value is not None:
                body[name] = value
        return msgspec.json.encode(body)

    def _instructed(self) -> Iterator[Json]:
        if isinstance(self.instructions, str):
            yield {"role": "system", "content": self.instructions}
        elif self.instructions:
            yield from _messages(self.instructions)

    def _heard(self) -> Iterator[Json]:
        if isinstance(self.input, str):
            yield {"role": "user", "content": self.input}
        else:
            yield from _messages(self.input)


def _messages(items: list[Json]) -> Iterator[Json]:
    for item in items:
        match item.get("type", "message"):
            case "message":
                yield {"role": item.get("role", "user"), "content": _content(item.get("content"))}
            case "function_call":
                function = {"name": item.get("name", ""), "arguments": item.get("arguments", "")}
                call = {"id": item.get("call_id", ""), "type": "function", "function": function}
                yield {"role": "assistant", "content": "", "tool_calls": [call]}
            case "function_call_output":
                said = item.get("output")
                text = said if isinstance(said, str) else text_of(said)
                yield {"role": "tool", "tool_call_id": item.get("call_id", ""), "content": text}
            case _:  # thoughts and calls of others' tools are none of a model's business
                continue


def _content(content: Any) -> Any:
    if not isinstance(content, list):
        return content or ""
    parts = [part for one in content if isinstance(one, dict) and (part := _part(one)) is not None]
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _part(part: Json) -> Json | None:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": str(part.get("text", ""))}
        case "refusal":
            return {"type": "text", "text": str(part.get("refusal", ""))}
        case "input_image":
            return {"type": "image_url", "image_url": {"url": str(part.get("image_url", ""))}}
        case _:
            return None


def _tool(tool: Json) -> Json:
    names = ("name", "description", "parameters", "strict")
    return {
        "type": "function",
        "function": {name: tool[name] for name in names if tool.get(name) is not None},
    }


def _choice(choice: Any) -> Any:
    if isinstance(choice, dict) and choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name", "")}}
    return choice if isinstance(choice, str) else None


def _format(text: Json | None) -> Any:
    said = (text or {}).get("format")
    if not isinstance(said, dict) or said.get("type") in (None, "text"):
        return None
    if said["type"] == "json_schema":
        return {"type": "json_schema", "json_schema": {k: v for k, v in said.items() if k != "type"}}
    return {"type": said["type"]}
