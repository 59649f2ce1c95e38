"""What all of OpenAI's answers are made of: events, usage, and who made an answer when."""

from __future__ import annotations

from typing import Final

import msgspec

from lambent.wire.skills import Json, Usage

DONE: Final = b"data: [DONE]\n\n"
COMMENT: Final = b": keep-alive\n\n"  # readers of server-sent events skip it (WHATWG HTML, section 9.2)

_encoder: Final = msgspec.json.Encoder()


class Made(msgspec.Struct, frozen=True):
    """An answer's id, when it was made (seconds since 1970), and by which model in the caller's words."""

    id: str
    created_s: int
    model: str


def event(value: object) -> bytes:
    """One event without a name."""
    return b"data: %b\n\n" % _encoder.encode(value)


def named_event(name: str, value: object) -> bytes:
    """One event with its name."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encoder.encode(value))


def body(value: object) -> bytes:
    """A whole answer."""
    return _encoder.encode(value)


def usage_of(usage: Usage) -> Json:
    """The usage of a text."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
