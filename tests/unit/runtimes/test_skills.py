"""What becomes of what a model's methods return or yield, alone and with others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import msgspec
import pytest

from lambent.runtimes.awaiting import Awaiter
from lambent.runtimes.base import Reply, Request
from lambent.runtimes.faults import Fault
from lambent.runtimes.skills import Skills
from lambent.wire.frames import Call, Form
from lambent.wire.skills import TYPES, Chat, Embedding, Embeddings, Part, Rerank, Skill, Usage, Vectors


class Vectoriser:
    """Remembers how many texts it was given at once."""

    def __init__(self, usage: str = "each") -> None:
        self.usage = usage
        self.seen: list[int] = []

    def embed(self, ask: Embedding) -> Any:
        self.seen.append(len(ask.inputs))
        if "bad" in ask.inputs:
            raise ValueError("a bad text")
        vectors = [[float(len(text)), 1.0] for text in ask.inputs]
        usages = {"each": [Usage(len(text)) for text in ask.inputs], "all": Usage(7), "none": None}
        return Embeddings(vectors, usages[self.usage])


def asking(skill: Skill, **body: object) -> Request:
    return Request(Call(1, "id", 1e3, TYPES[skill]), bytearray(msgspec.json.encode(body)))


def settled(value: object) -> object:
    assert not isinstance(value, Awaitable)
    return value


def vectors_in(reply: Reply | BaseException) -> Vectors:
    assert isinstance(reply, Reply), reply
    return msgspec.msgpack.decode(reply.body, type=Vectors)


def test_texts_of_several_callers_are_embedded_at_once() -> None:
    model = Vectoriser()
    requests = [asking(Skill.EMBED, input=["a", "bb"]), asking(Skill.EMBED, input="ccc")]
    replies = Skills(model, "m").together(requests, settled)
    first, second = (vectors_in(reply) for reply in replies)
    assert model.seen == [3]
    assert (first.count, second.count) == (2, 1)
    assert (first.usage, second.usage) == (Usage(3), Usage(3))
    alone = Skills(model, "m").wanted(requests[1].call, requests[1].body)
    assert alone is not None
    assert vectors_in(Skills(model, "m").answer(alone, None, settled)) == second


@pytest.mark.parametrize(("usage", "seen"), [("all", [2, 1, 1]), ("none", [2])])
def test_a_usage_that_is_said_of_all_is_not_divided(usage: str, seen: list[int]) -> None:
    model = Vectoriser(usage)
    replies = Skills(model, "m").together([asking(Skill.EMBED, input=text) for text in "ab"], settled)
    assert [vectors_in(reply).usage for reply in replies] == [Usage(7) if usage == "all" else None] * 2
    assert model.seen == seen


def test_a_bad_text_fails_alone_and_others_are_not_mixed() -> None:
    model = Vectoriser()
    requests = [
        asking(Skill.EMBED, input="good"),
        asking(Skill.EMBED, input="bad"),
        asking(Skill.EMBED, input="small", dimensions=1),
        asking(Skill.EMBED, input=5),
        asking(Skill.CHAT, messages=[{"role": "user", "content": "x"}]),
    ]
    good, bad, small, refused, unable = Skills(model, "m").together(requests, settled)
    assert vectors_in(good).usage == Usage(4)
    assert vectors_in(small).usage == Usage(5)
    assert isinstance(bad, ValueError)
    for fault in (refused, unable):
        assert isinstance(fault, Fault)
        assert fault.status == 400


@pytest.mark.parametrize(
    "result", [[[1.0]], [[1.0], [1.0, 2.0]], "text", [["x"], ["y"]], None, [[1.0], None]]
)
def test_what_is_no_vector_for_each_text_is_the_models_fault(result: Any) -> None:
    class Wrong:
        def embed(self, ask: Embedding) -> Any:
            return result

    skills = Skills(Wrong(), "m")
    asked = asking(Skill.EMBED, input=["a", "b"])
    question = skills.wanted(asked.call, asked.body)
    assert question is not None
    with pytest.raises(Fault) as caught:
        skills.answer(question, None, settled)
    assert caught.value.error_type == "Lambent.BadAnswer"


class Line:
    """What was written, and whether it began."""

    def __init__(self) -> None:
        self.pieces: list[tuple[Form, bytes]] = []

    def begin(self, head: object = None) -> None:
        assert not self.pieces

    def write(self, form: Form, piece: Any) -> None:
        self.pieces.append((form, bytes(piece)))

    def notify(self, news: bytes) -> None:
        raise AssertionError(news)


class Sync:
    def chat(self, ask: Chat) -> Any:
        yield "a"
        yield Part("b", finish_reason="stop")


class Async:
    async def chat(self, ask: Chat) -> Any:
        yield "a"
        await asyncio.sleep(0)
        yield Part("b", finish_reason="stop")


class Whole:
    async def chat(self, ask: Chat) -> Any:
        await asyncio.sleep(0)
        return Part("ab", finish_reason="stop")


@pytest.mark.parametrize("kind", [Sync, Async, Whole])
def test_a_method_may_be_sync_or_async_and_return_or_yield(kind: type) -> None:
    awaiter, line = Awaiter(), Line()
    skills = Skills(kind(), "m")
    for stream in (False, True):
        asked = asking(Skill.CHAT, messages=[{"role": "user", "content": "x"}], stream=stream, n=2)
        question = skills.wanted(asked.call, asked.body)
        assert question is not None
        reply = skills.answer(question, line, awaiter.settled)
        if not stream:
            said = msgspec.json.decode(reply.body)
            assert [(one["text"], one.get("index", 0)) for one in said["choices"]] == [("ab", 0), ("ab", 1)]
            assert line.pieces == []
    awaiter.close()
    first = [piece for form, piece in line.pieces if form is Form.TEXT or b'"index"' not in piece]
    texts = [piece.decode() if piece == b"a" else msgspec.json.decode(piece)["text"] for piece in first]
    assert "".join(texts) == "ab"
    assert all(b'"index":1' in piece for _, piece in line.pieces[len(first) :])


def test_what_is_said_is_text_or_a_part() -> None:
    class Wrong:
        def chat(self, ask: Chat) -> Any:
            yield 5

    skills = Skills(Wrong(), "m")
    question = skills.wanted(asking(Skill.CHAT).call, bytearray(b'{"messages": [{"role": "user"}]}'))
    assert question is not None
    with pytest.raises(Fault, match=r"text or a lambent\.Part, and this is of type int"):
        skills.answer(question, None, settled)


def test_scores_are_as_many_as_documents() -> None:
    class Wrong:
        def rerank(self, ask: Rerank) -> Any:
            return [1.0]

    skills = Skills(Wrong(), "m")
    asked = asking(Skill.RERANK, query="q", documents=["a", "b"])
    question = skills.wanted(asked.call, asked.body)
    assert question is not None
    with pytest.raises(Fault, match="1 scores for 2 documents"):
        skills.answer(question, None, settled)


def test_an_event_is_for_the_method_whose_field_it_has() -> None:
    skills = Skills(Vectoriser(), "m")
    event = bytearray(b'{"input": "abc"}')
    question = skills.wanted(Call(1, "id", 1e3), event)
    assert question is not None
    assert question.skill is Skill.EMBED
    with pytest.raises(Fault, match="send a JSON object with input"):
        skills.wanted(Call(1, "id", 1e3), bytearray(b"[1]"))
