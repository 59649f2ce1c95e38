"""What OpenAI's clients send. Fields that are not here are no error: they are the model's business.

Source: OpenAI's API reference; what its clients send was seen with openai 3.54.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec

from lambent.wire.skills import Chat, Completion, Embedding, Json, Rerank, Sampling
from lambent.wire.speech import Refused
from lambent.wire.typed import from_json

T = TypeVar("T")

Choices = Annotated[int, msgspec.Meta(ge=1, le=128)] | None
Tokens = Annotated[int, msgspec.Meta(ge=0)] | None
Stop = str | list[str] | None


class StreamOptions(msgspec.Struct, frozen=True):
    """What a stream tells beside text."""

    include_usage: bool | None = None


class ChatBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Json], msgspec.Meta(min_length=1)]
    model: str = ""
    max_tokens: Tokens = None
    max_completion_tokens: Tokens = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: Stop = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: Tokens = None
    n: Choices = None
    tools: list[Json] | None = None
    tool_choice: Any = None
    response_format: Any = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def asks(self, fields: Json) -> list[Chat]:
        """What the model is asked: once for each answer that is wanted."""
        sampling = Sampling(
            max_tokens=self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=_texts(self.stop),
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            top_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )
        return [
            Chat(
                messages=self.messages,
                sampling=_varied(sampling, place),
                tools=self.tools or [],
                tool_choice=self.tool_choice,
                response_format=self.response_format,
                fields=fields,
            )
            for place in range(self.n or 1)
        ]


class CompletionBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/completions`."""

    prompt: str | list[Any]
    model: str = ""
    max_tokens: Tokens = 16  # OpenAI's own default
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: Stop = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: Tokens = None
    n: Choices = None
    suffix: str | None = None
    echo: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def asks(self, fields: Json) -> list[Completion]:
        """What the model is asked, for each prompt and each answer. Raises `Refused`."""
        sampling = Sampling(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=_texts(self.stop),
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            top_logprobs=self.logprobs,
        )
        return [
            Completion(
                prompt=prompt, sampling=_varied(sampling, place), suffix=self.suffix or "", fields=fields
            )
            for prompt in each_of(self.prompt, "prompt")
            for place in range(self.n or 1)
        ]


class EmbeddingBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/embeddings`. The Python client asks for base64 unless it is told otherwise."""

    input: str | list[Any]
    model: str = ""
    encoding_format: str | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None

    def ask(self, fields: Json) -> Embedding:
        """What the model is asked. Raises `Refused`."""
        return Embedding(inputs=each_of(self.input, "input"), dimensions=self.dimensions, fields=fields)


class RerankBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/rerank`, as Jina, Cohere and vLLM have it."""

    query: str
    documents: list[str | Json]
    model: str = ""
    top_n: Annotated[int, msgspec.Meta(ge=1)] | None = None
    return_documents: bool | None = None

    def ask(self, fields: Json) -> Rerank:
        """What the model is asked."""
        texts = [one if isinstance(one, str) else str(one.get("text", "")) for one in self.documents]
        return Rerank(query=self.query, documents=texts, fields=fields)


class ScoreBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/score`, as vLLM has it: one text against many, or pairs."""

    text_1: str
    text_2: str | list[str]
    model: str = ""


class Streaming(msgspec.Struct, frozen=True):
    """What a body says of how it is answered."""

    stream: bool | None = None


def read(body: bytes | bytearray, kind: type[T]) -> T:
    """A body as what it should be. Raises `Refused`, which names the field."""
    try:
        return from_json(body, kind)
    except msgspec.ValidationError as error:
        raise refused(error) from error
    except msgspec.DecodeError as error:
        raise Refused(f"We could not parse the JSON body of your request: {error}") from error


def refused(error: msgspec.ValidationError) -> Refused:
    """The error of a field, in words that name it."""
    text, _, path = str(error).partition(" - at `$")
    missing = text.partition("missing required field `")[2].rstrip("`")
    field = path.rstrip("`").lstrip(".") or missing
    if missing:
        return Refused(
            f"Missing required parameter: '{field}'.", code="missing_required_parameter", param=field
        )
    return Refused(f"Invalid type for '{field}': {text}.", code="invalid_type", param=field or None)


def each_of(given: str | list[Any], field: str) -> Any:
    """Texts, or lists of the ids of tokens, from one of them or several. Raises `Refused`."""
    if isinstance(given, str):
        return [given]
    if given and all(isinstance(one, str) for one in given):
        return given
    if given and _is_ids(given):
        return [given]
    if given and all(isinstance(one, list) and one and _is_ids(one) for one in given):
        return given
    raise Refused(
        f"Invalid '{field}': it is a text, a list of texts, a list of token ids or a list of such lists, "
        "and not empty.",
        code="invalid_value",
        param=field,
    )


def _is_ids(given: list[Any]) -> bool:
    return all(isinstance(one, int) and not isinstance(one, bool) for one in given)


def _texts(stop: Stop) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _varied(sampling: Sampling, place: int) -> Sampling:
    """Several answers to one seed would all be the same one."""
    if sampling.seed is None or not place:
        return sampling
    return msgspec.structs.replace(sampling, seed=sampling.seed + place)
