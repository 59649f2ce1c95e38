"""A model that llama.cpp serves in this process, with the methods of a model class."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, Final

from lambent.runtimes.faults import Fault
from lambent.wire.skills import Chat, Completion, Embedding, Embeddings, Json, Part, Sampling, Usage

OWN_FAULT: Final = 500  # from here on an error is not the caller's
# What is said by whoever serves, and not by the caller.
OURS: Final = frozenset(
    {"model", "n", "stream", "stream_options", "messages", "prompt", "max_completion_tokens"}
)

Hear = Callable[[Json], bool]


class Llama:
    """Each call has a thread, which waits in llama.cpp for its tokens: that computes for all in one step."""

    def __init__(self, server: Any, slots: int) -> None:
        self._server: Final = server
        self._threads: Final = ThreadPoolExecutor(slots, thread_name_prefix="llama")

    async def chat(self, ask: Chat) -> AsyncGenerator[str | Part, None]:
        """Go on with a conversation, by the template that is in the model's file."""
        body = _body(ask.fields, ask.sampling) | {"messages": [_known(message) for message in ask.messages]}
        async with aclosing(self._chunks(self._server.handle_chat_completions, body)) as chunks:
            async for chunk in chunks:
                for part in _parts(chunk):
                    yield part

    async def complete(self, ask: Completion) -> AsyncGenerator[str | Part, None]:
        """Go on with a text."""
        body = _body(ask.fields, ask.sampling) | {"prompt": ask.prompt}
        async with aclosing(self._chunks(self._server.handle_completions, body)) as chunks:
            async for chunk in chunks:
                for part in _parts(chunk):
                    yield part

    async def embed(self, ask: Embedding) -> Embeddings:
        """A vector for each text. Raises `Fault` for what the model cannot read."""
        loop = asyncio.get_running_loop()
        body = {"input": ask.inputs}
        answer: Json = await loop.run_in_executor(self._threads, self._server.handle_embeddings, body)
        _check(answer)
        rows = sorted(answer["data"], key=lambda row: int(row["index"]))
        usage = Usage(int(answer.get("usage", {}).get("prompt_tokens", 0)))
        return Embeddings([row["embedding"] for row in rows], usage)

    async def _chunks(self, handle: Callable[[Json, Hear], object], body: Json) -> AsyncGenerator[Json, None]:
        """What the server says, as it says it. Whoever stops reading stops it at its next token.

        What is not read yet is bounded by the model's context.
        """
        loop = asyncio.get_running_loop()
        said: asyncio.Queue[Json | BaseException | None] = asyncio.Queue()
        left = threading.Event()

        def hear(chunk: Json) -> bool:
            loop.call_soon_threadsafe(said.put_nowait, chunk)
            return left.is_set()

        def run() -> None:
            end: BaseException | None = None
            try:
                handle(body, hear)
            except Exception as error:  # noqa: BLE001 - around llama.cpp; whoever reads hears of it
                end = error
            loop.call_soon_threadsafe(said.put_nowait, end)

        running = loop.run_in_executor(self._threads, run)
        try:
            while (chunk := await said.get()) is not None:
                if isinstance(chunk, BaseException):
                    raise _refused(chunk)
                _check(chunk)
                yield chunk
        finally:
            left.set()
            await asyncio.wait([running])


def _body(fields: Json, sampling: Sampling) -> Json:
    """What the caller sent, llama.cpp's own options too."""
    body = {name: value for name, value in fields.items() if name not in OURS and value is not None}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    if sampling.max_tokens is not None:
        body["max_tokens"] = sampling.max_tokens
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    return body


def _known(message: Json) -> Json:
    """Templates know no developers."""
    return message | {"role": "system"} if message.get("role") == "developer" else message


def _parts(chunk: Json) -> list[str | Part]:
    usage = chunk.get("usage")
    choices = chunk.get("choices") or ()
    parts = [part for choice in choices if (part := _part(choice)) is not None]
    if usage is not None:
        details = usage.get("prompt_tokens_details") or {}
        told = Usage(usage["prompt_tokens"], usage["completion_tokens"], details.get("cached_tokens", 0))
        parts.append(Part(usage=told))
    return parts


def _part(choice: Json) -> str | Part | None:
    delta = choice.get("delta") or {}
    text = delta.get("content") or choice.get("text") or ""
    end = choice.get("finish_reason") or ""
    logprobs = (choice.get("logprobs") or {}).get("content") or []
    calls, reasoning = delta.get("tool_calls") or [], delta.get("reasoning_content") or ""
    if not (end or logprobs or calls or reasoning):
        return text or None
    return Part(text, reasoning=reasoning, tool_calls=calls, finish_reason=end, logprobs=logprobs)


def _check(answer: Json) -> None:
    """Raise `Fault` where it is an error."""
    error = answer.get("error")
    if isinstance(error, dict):
        code = int(error.get("code", OWN_FAULT))
        message = str(error.get("message", error))
        raise Fault("Lambent.BadRequest" if code < OWN_FAULT else "Llama.Error", message, status=code)


def _refused(error: BaseException) -> BaseException:
    """What the binding raises of a request is of its fields."""
    if isinstance(error, ValueError):
        return Fault("Lambent.BadRequest", str(error), status=400)
    return error
