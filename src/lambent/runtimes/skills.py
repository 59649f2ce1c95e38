"""The methods of a model beside `predict`: what they are given, and what becomes of what they say."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any, Final

import msgspec

from lambent.core.invocation import JSON
from lambent.runtimes import payload, streaming, vectors
from lambent.runtimes.base import STREAMED, AsyncLine, Body, Line, Reply, Request
from lambent.runtimes.faults import Fault
from lambent.wire.frames import Call, Form
from lambent.wire.openai.asked import ChatBody, CompletionBody, EmbeddingBody, RerankBody, read
from lambent.wire.skills import BY_TYPE, VECTORS_TYPE, Embedding, Part, Scores, Skill, Transcription
from lambent.wire.speech import Refused, gather
from lambent.wire.typed import unpacker

Method = Callable[[Any], object]
Settled = Callable[[object], object]

BAD_REQUEST: Final = 400
# What an event without a type of its own is for, by the field that only it has.
BY_FIELD: Final[Mapping[str, Skill]] = {
    "messages": Skill.CHAT,
    "prompt": Skill.COMPLETE,
    "input": Skill.EMBED,
    "documents": Skill.RERANK,
}


class Question(msgspec.Struct, frozen=True):
    """What a method is asked: once, or as often as answers are wanted."""

    skill: Skill
    asks: Sequence[Any]
    streams: bool = False


class Skills:
    """The methods of one model. Whatever they return or yield is text, a `Part`, vectors or scores."""

    def __init__(self, instance: object, whose: str) -> None:
        self._methods: Final = methods_of(instance)
        self._predicts: Final = callable(getattr(instance, "predict", None))
        self._whose: Final = whose

    def answers(self, call: Call) -> bool:
        """Whether a call is for one of these methods, and not for `predict`."""
        return not self._predicts or call.content_type in BY_TYPE

    def wanted(self, call: Call, body: Body) -> Question | None:
        """What a call asks of these methods; `None` where it is for `predict`. Raises `Fault`."""
        return self._read(*self._named(call, body)) if self.answers(call) else None

    def answer(self, question: Question, line: Line | None, settled: Settled) -> Reply:
        """Ask, and wait for all of it. Without a line it comes whole, whatever was wanted."""
        if question.skill in (Skill.EMBED, Skill.RERANK):
            return self._measured(question, settled(self._asked(question)))
        with closing(self._spoken(question, settled)) as parts:
            if line is None or not question.streams:
                return _whole(parts)
            line.begin()
            for part in parts:
                line.write(*piece(part))
        return STREAMED

    def together(self, requests: Sequence[Request], settled: Settled) -> list[Reply | BaseException]:
        """Answers to several calls, none of which can stream. What is to be embedded is embedded at once."""
        questions = [self._wanted_or_error(request) for request in requests]
        ended: dict[int, Reply | BaseException] = {}
        for places in _alike(questions):
            replies = self._embedded([asked for _, asked in places], settled)
            ended.update(zip((place for place, _ in places), replies, strict=False))
        return [
            ended.get(place) or self._alone(question, settled) for place, question in enumerate(questions)
        ]

    async def converse(self, question: Question, line: AsyncLine) -> Reply:
        """The same on an event loop."""
        if question.skill in (Skill.EMBED, Skill.RERANK):
            result = self._asked(question)
            return self._measured(question, await result if isinstance(result, Awaitable) else result)
        async with aclosing(self._spoken_async(question)) as parts:
            if not question.streams:
                return _whole([part async for part in parts])
            await line.begin()
            async for part in parts:
                await line.write(*piece(part))
        return STREAMED

    def _read(self, skill: Skill, body: Body) -> Question:
        if skill not in self._methods and not (skill is Skill.RERANK and Skill.EMBED in self._methods):
            message = f"{self._whose} has no method {skill.value}(self, ask)"
            raise Fault("Lambent.NoSuchMethod", message, status=BAD_REQUEST)
        try:
            return _question(skill, body)
        except Refused as error:
            raise Fault("Lambent.BadRequest", error.message, status=BAD_REQUEST) from error

    def _named(self, call: Call, body: Body) -> tuple[Skill, Body]:
        return BY_TYPE.get(call.content_type) or self._skill_of(payload.decode(call.content_type, body)), body

    def _skill_of(self, event: object) -> Skill:
        """What an event is for that comes as any other. Raises `Fault`."""
        fields = event if isinstance(event, dict) else {}
        for field, skill in BY_FIELD.items():
            if field in fields:
                return skill
        fit = ", ".join(field for field, skill in BY_FIELD.items() if skill in self._methods)
        message = f"{self._whose} has no method predict(self, inputs); send a JSON object with {fit}"
        raise Fault("Lambent.NoSuchMethod", message, status=BAD_REQUEST)

    def _wanted_or_error(self, request: Request) -> Question | Fault:
        try:
            return self._read(*self._named(request.call, request.body))
        except Fault as fault:
            return fault

    def _alone(self, question: Question | Fault, settled: Settled) -> Reply | BaseException:
        if isinstance(question, Fault):
            return question
        try:
            return self.answer(question, None, settled)
        except Exception as error:  # noqa: BLE001 - around user code: it shall not harm the others
            return error

    def _embedded(self, asked: Sequence[Question], settled: Settled) -> list[Reply]:
        """All at once; nothing where that fails, so that each is asked alone and a bad one fails alone."""
        inputs = [one for question in asked for one in question.asks[0].inputs]
        ask = msgspec.structs.replace(asked[0].asks[0], inputs=inputs)
        try:
            result = settled(self._methods[Skill.EMBED](ask))
            parts = vectors.parted(result, [len(question.asks[0].inputs) for question in asked])
        except Exception:  # noqa: BLE001 - around user code, which may raise anything
            return []
        return [Reply(msgspec.msgpack.encode(part), VECTORS_TYPE) for part in parts or ()]

    def _asked(self, question: Question) -> object:
        ask = question.asks[0]
        method = self._methods.get(question.skill)
        if method is None:  # a query is a text like the others
            ask = Embedding(inputs=[ask.query, *ask.documents])
            method = self._methods[Skill.EMBED]
        return method(ask)

    def _measured(self, question: Question, result: object) -> Reply:
        ask = question.asks[0]
        if question.skill is Skill.EMBED:
            made = vectors.packed(result, len(ask.inputs))
            return Reply(msgspec.msgpack.encode(made), VECTORS_TYPE)
        if question.skill not in self._methods:
            made = vectors.packed(result, 1 + len(ask.documents))
            return Reply(msgspec.json.encode(Scores(vectors.likeness(made), made.usage)), JSON)
        scores = vectors.numbers(result)
        if len(scores) != len(ask.documents):
            raise vectors.bad(f"rerank returned {len(scores)} scores for {len(ask.documents)} documents")
        return Reply(msgspec.json.encode(Scores(scores)), JSON)

    def _spoken(self, question: Question, settled: Settled) -> Generator[str | Part, None, None]:
        for index, ask in enumerate(question.asks):
            result = settled(self._methods[question.skill](ask))
            if streaming.yields_async(result):
                result = streaming.one_by_one(result, settled)
            if streaming.yields(result):
                with closing(result):
                    for value in result:
                        yield _placed(value, index)
            else:
                yield _placed(result, index)

    async def _spoken_async(self, question: Question) -> AsyncGenerator[str | Part, None]:
        for index, ask in enumerate(question.asks):
            result = self._methods[question.skill](ask)
            if isinstance(result, Awaitable):
                result = await result
            if streaming.yields_async(result):
                async with aclosing(result):
                    async for value in result:
                        yield _placed(value, index)
            elif streaming.yields(result):
                with closing(result):
                    for value in result:
                        yield _placed(value, index)
            else:
                yield _placed(result, index)


def methods_of(instance: object) -> dict[Skill, Method]:
    """Those that it has."""
    found = {skill: getattr(instance, skill.value, None) for skill in Skill}
    return {skill: method for skill, method in found.items() if callable(method)}


def piece(part: str | Part) -> tuple[Form, bytes]:
    """A part on its way: most are nothing but text."""
    if isinstance(part, str):
        return Form.TEXT, part.encode("utf-8", "surrogatepass")
    return Form.JSON, msgspec.json.encode(part)


def _placed(value: object, index: int) -> str | Part:
    if isinstance(value, str):
        return Part(value, index=index) if index else value
    if isinstance(value, Part):
        return msgspec.structs.replace(value, index=index) if index else value
    raise vectors.bad(f"what is said is text or a lambent.Part, and this is of type {type(value).__name__}")


def _whole(parts: Iterable[str | Part]) -> Reply:
    said = gather(Part(part) if isinstance(part, str) else part for part in parts)
    return Reply(msgspec.json.encode(said), JSON)


def _alike(questions: Sequence[Question | Fault]) -> list[list[tuple[int, Question]]]:
    """What can be embedded at once, with its places: inputs of one kind, to vectors of one size."""
    groups: dict[object, list[tuple[int, Question]]] = {}
    for place, question in enumerate(questions):
        if isinstance(question, Question) and question.skill is Skill.EMBED:
            ask = question.asks[0]
            groups.setdefault((type(ask.inputs[0]), ask.dimensions), []).append((place, question))
    return [group for group in groups.values() if len(group) > 1]


def _question(skill: Skill, body: Body) -> Question:
    if skill is Skill.TRANSCRIBE:
        try:
            wanted: Transcription = unpacker(Transcription).decode(body)
        except msgspec.DecodeError as error:
            raise Refused(f"this is no transcription: {error}") from error
        return Question(skill, [wanted], wanted.stream)
    fields: dict[str, Any] = read(body, dict)
    if skill is Skill.EMBED:
        return Question(skill, [read(body, EmbeddingBody).ask(fields)])
    if skill is Skill.RERANK:
        return Question(skill, [read(body, RerankBody).ask(fields)])
    asked = read(body, ChatBody) if skill is Skill.CHAT else read(body, CompletionBody)
    return Question(skill, asked.asks(fields), bool(asked.stream))
