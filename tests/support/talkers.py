"""Small models that talk, in a file as a user would write it, for tests of the doors of talking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from tests.support.server import RunningServer

# Bodies that look like those of clients from afar.
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    [
        "role",
        "content",
        "type",
        "text",
        "source",
        "data",
        "input",
        "tool_calls",
        "name",
        "output",
        "arguments",
    ]
)
kinds = st.sampled_from(
    ["text", "image", "document", "tool_use", "tool_result", "message", "function_call", "input_text"]
)
items = st.dictionaries(names, values | kinds | st.lists(st.dictionaries(names, values | kinds)), max_size=5)
NAMES = """
    messages model prompt input n stop stream tools tool_choice system text stream_options instructions query
    documents seed max_tokens response_format
"""
bodies = st.dictionaries(st.sampled_from(NAMES.split()), values | st.lists(items, max_size=3), max_size=8)

# What a chat shall do is the last message's text. `flood` says more than a reader is ever ahead of.
CODE = '''
import asyncio
import threading

import lambent

app = lambent.App("talkers")


@app.model
class Parrot:
    """Says again what it hears, word by word, and what else it is asked to."""

    def chat(self, ask: lambent.Chat):
        said = ask.text
        if said == "raise":
            raise ValueError("asked to fail")
        if said == "weather":
            yield lambent.Part(tool_calls=[
                {"index": 0, "id": "call_1", "type": "function",
                 "function": {"name": ask.tools[0]["function"]["name"], "arguments": ""}},
            ])
            for piece in ('{"city":', ' "Wien"}'):
                yield lambent.Part(tool_calls=[{"index": 0, "function": {"arguments": piece}}])
            yield lambent.Part(usage=lambent.Usage(5, 7))
            return
        if said == "sampling":
            yield repr(ask.sampling) + " " + repr(ask.fields.get("unheard_of"))
            return
        if said == "roles":
            yield " ".join(message["role"] for message in ask.messages)
            return
        words = said.split()
        for place, word in enumerate(words):
            yield word + " "
            if word == "break":
                raise ValueError("broke in the middle")
        yield lambent.Part(
            finish_reason="length" if ask.sampling.max_tokens == len(words) else "",
            usage=lambent.Usage(len(words), len(words), cached_tokens=1),
        )

    def complete(self, ask: lambent.Completion):
        return lambent.Part(str(ask.prompt).upper(), usage=lambent.Usage(2, 3))

    def embed(self, ask: lambent.Embedding):
        vectors = [[float(len(text)), 0.5, -1.25] for text in ask.inputs]
        return lambent.Embeddings(vectors, usage=lambent.Usage(len(vectors)))


@app.model(concurrency=4)
class Chorus:
    """Async, several at once: each waits until as many are there as it is told, and then answers."""

    def __init__(self):
        self.waiting, self.all_here = 0, None

    async def chat(self, ask: lambent.Chat):
        yield "here "
        self.all_here = self.all_here or asyncio.Event()
        self.waiting += 1
        if self.waiting == int(ask.text):
            self.all_here.set()
        await self.all_here.wait()
        yield "together"

    async def embed(self, ask: lambent.Embedding):
        return [[1.0, float(place)] for place, _ in enumerate(ask.inputs)]


@app.model(concurrency=4, parallel="threads")
class Crowd:
    """Sync, several at once in threads: as `Chorus`."""

    def __init__(self):
        self.all_here = threading.Barrier(3)

    def chat(self, ask: lambent.Chat):
        yield "here "
        self.all_here.wait(60)
        yield "together"

    async def embed(self, ask: lambent.Embedding):
        await asyncio.sleep(0)
        return [[1.0, float(place)] for place, _ in enumerate(ask.inputs)]


@app.model
class Plain:
    """Says nothing but numbers."""

    def predict(self, inputs):
        return inputs


@app.model(max_batch=8)
class Both:
    """Has rows to predict and texts to answer, which come in the same batches."""

    def predict(self, inputs):
        return [2 * number for number in inputs]

    def chat(self, ask: lambent.Chat):
        if ask.text == "raise":
            raise ValueError("asked to fail")
        yield from ("you ", "said ", ask.text)


@app.model
class Ear:
    """Hears how many bytes there are, in two segments."""

    def transcribe(self, ask: lambent.Transcription):
        yield lambent.Part(f" {len(ask.audio)} bytes", start_s=0.0, end_s=1.5)
        yield lambent.Part(f" of {ask.file_name}", start_s=1.5, end_s=3661.25)


@app.model
class Judge:
    """Ranks by how often the query occurs."""

    def rerank(self, ask: lambent.Rerank):
        return [document.count(ask.query) for document in ask.documents]
'''


@contextmanager
def talking(folder: Path) -> Iterator[RunningServer]:
    """A server on which these models are deployed."""
    running = RunningServer(folder / "state").start()
    try:
        (folder / "talkers.py").write_text(CODE)
        running.deploy(folder / "talkers.py")
        yield running
    finally:
        running.stop()
