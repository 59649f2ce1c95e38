"""What a model may be asked beside `predict`: to chat, complete, embed, rerank, transcribe.

Each is a method of the model's class. What it is asked and what it says are the values here, whichever door
the request came in by; a door turns them into the words of its protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import msgspec


class Skill(StrEnum):
    """A method that a model's class may have. Each takes one value, and may be async."""

    CHAT = "chat"
    COMPLETE = "complete"
    EMBED = "embed"
    RERANK = "rerank"
    TRANSCRIBE = "transcribe"


# By these a call says which method it is for. What is transcribed is bytes, all else is JSON.
TYPES: Final[Mapping[Skill, str]] = MappingProxyType(
    {
        skill: f"application/vnd.lambent.{skill}+{'msgpack' if skill is Skill.TRANSCRIBE else 'json'}"
        for skill in Skill
    }
)
BY_TYPE: Final[Mapping[str, Skill]] = MappingProxyType({name: skill for skill, name in TYPES.items()})

VECTORS_TYPE: Final = "application/vnd.lambent.vectors+msgpack"

Json = dict[str, Any]


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How text is made, as far as the caller says it; `None` leaves it to the model.

    `max_tokens` bounds what is said. `stop` are texts before which it ends. `top_logprobs` are so many
    alternatives of each token that the caller wants told, beside the token's own where it is 0.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    top_logprobs: int | None = None


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """What `chat(self, ask)` is asked: to go on with a conversation.

    `messages` have `role` and `content` as OpenAI writes them, `tools` and `tool_choice` too. `fields` are
    all that the caller sent, for what has no name here.
    """

    messages: list[Json]
    sampling: Sampling = Sampling()
    tools: list[Json] = []
    tool_choice: Any = None
    response_format: Any = None
    fields: Json = {}

    @property
    def text(self) -> str:
        """The text of the last message."""
        return text_of(self.messages[-1].get("content")) if self.messages else ""


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """What `complete(self, ask)` is asked: to go on with a text, or with the ids of its tokens."""

    prompt: str | list[int]
    sampling: Sampling = Sampling()
    suffix: str = ""
    fields: Json = {}


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """What `embed(self, ask)` is asked: a vector for each input, a text or the ids of its tokens."""

    inputs: list[str] | list[list[int]]
    dimensions: int | None = None
    fields: Json = {}


class Rerank(msgspec.Struct, frozen=True, kw_only=True):
    """What `rerank(self, ask)` is asked: how well each document answers the query, a number for each."""

    query: str
    documents: list[str]
    fields: Json = {}


class Transcription(msgspec.Struct, frozen=True, kw_only=True):
    """What `transcribe(self, ask)` is asked: what is said in a file of sound.

    `language` is an ISO 639-1 code, empty where the model shall find it out. `translate`: into English.
    """

    audio: bytes
    file_name: str = ""
    language: str = ""
    prompt: str = ""
    temperature: float | None = None
    translate: bool = False
    stream: bool = False
    fields: dict[str, str] = {}


class Usage(msgspec.Struct, frozen=True):
    """How many tokens were read and said; `cached_tokens` of those read were known already."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """A piece of what is said, where it is more than text.

    `tool_calls` are as OpenAI writes them, in pieces where each has its `index`. `finish_reason` is one of
    `stop`, `length`, `tool_calls` and `content_filter`. `usage` is of the whole answer: the last one counts.
    `logprobs` are a list of OpenAI's entries. Of a transcription, `start_s` and `end_s` say when it is said.
    `index` is set for you: which of several answers it belongs to.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: list[Json] = []
    finish_reason: str = ""
    usage: Usage | None = None
    logprobs: list[Json] = []
    start_s: float | None = None
    end_s: float | None = None
    index: int = 0


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that was said: a part for each of several answers, and a part for each segment of speech."""

    choices: list[Part] = []
    usage: Usage | None = None
    segments: list[Part] = []


class Embeddings(msgspec.Struct, frozen=True):
    """What `embed` may return in place of the vectors alone.

    Where `usage` says it for each input, the inputs of several callers may be embedded at once.
    """

    vectors: Any
    usage: Usage | list[Usage] | None = None


class Vectors(msgspec.Struct, frozen=True):
    """Vectors on their way: float32 in little-endian order, one after another."""

    count: int
    dimensions: int
    data: bytes
    usage: Usage | None = None

    def each(self) -> Sequence[bytes]:
        """The bytes of each."""
        size = self.dimensions * 4
        return [self.data[start : start + size] for start in range(0, self.count * size, size)]


class Scores(msgspec.Struct, frozen=True):
    """A number for each document, in their order."""

    scores: list[float]
    usage: Usage | None = None


def text_of(content: object) -> str:
    """The text of a message's content, which is text or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))
