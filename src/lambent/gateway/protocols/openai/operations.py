"""What OpenAI's clients may ask of a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.invocation import Outcome, Principal
from lambent.gateway.protocols.openai.door import Run
from lambent.gateway.protocols.speaking import Ask, Speaking, request_id, said_in
from lambent.gateway.requests import Request
from lambent.gateway.responses import Reply, type_header
from lambent.wire.openai import transcripts, vectors
from lambent.wire.openai.asked import (
    ChatBody,
    CompletionBody,
    EmbeddingBody,
    RerankBody,
    ScoreBody,
    StreamOptions,
    read,
)
from lambent.wire.openai.chat import ChatTeller
from lambent.wire.openai.completions import CompletionTeller
from lambent.wire.openai.events import Made
from lambent.wire.openai.responses import ResponseTeller
from lambent.wire.openai.responses_asked import ResponsesBody
from lambent.wire.openai.transcripts import TranscriptionBody, TranscriptTeller
from lambent.wire.skills import Scores, Skill, Vectors
from lambent.wire.speech import Broken, unreadable
from lambent.wire.typed import from_json, unpacker


class Operations:
    """Each reads a body, has it run, and tells the answer."""

    def __init__(self, speaking: Speaking, clock: Clock) -> None:
        self._speaking: Final = speaking
        self._clock: Final = clock

    def operations(self) -> Iterator[tuple[str, Run]]:
        """By path."""
        yield "/v1/chat/completions", self._chat
        yield "/v1/completions", self._complete
        yield "/v1/responses", self._respond
        yield "/v1/embeddings", self._embed
        yield "/v1/audio/transcriptions", self._transcribe
        yield "/v1/audio/translations", self._translate
        yield "/v1/rerank", self._rerank
        yield "/v1/score", self._score

    async def _chat(self, request: Request, principal: Principal, body: bytes) -> Reply | None:
        asked = read(body, ChatBody)
        made = self.made(request, "chatcmpl-", asked.model)
        usage_wanted = _wants_usage(asked.stream_options)
        teller = ChatTeller(made, choices=asked.n or 1, usage_wanted=usage_wanted)
        ask = Ask(Skill.CHAT, asked.model, body)
        way = self._speaking.stream if asked.stream else self._speaking.tell
        return await way(request, principal, ask, teller)

    async def _complete(self, request: Request, principal: Principal, body: bytes) -> Reply | None:
        asked = read(body, CompletionBody)
        asks = asked.asks({})
        echoes = [one.prompt if isinstance(one.prompt, str) else "" for one in asks] if asked.echo else []
        made = self.made(request, "cmpl-", asked.model)
        usage_wanted = _wants_usage(asked.stream_options)
        teller = CompletionTeller(made, choices=len(asks), usage_wanted=usage_wanted, echoes=echoes)
        ask = Ask(Skill.COMPLETE, asked.model, body)
        way = self._speaking.stream if asked.stream else self._speaking.tell
        return await way(request, principal, ask, teller)

    async def _respond(self, request: Request, principal: Principal, body: bytes) -> Reply | None:
        asked, sent = read(body, ResponsesBody), read(body, dict)
        ask = Ask(Skill.CHAT, asked.model or "", asked.chat())
        route, _ = self._speaking.route_of(principal.project, ask.model, Skill.CHAT)
        made = self.made(request, "resp_", asked.model or route.name)
        way = self._speaking.stream if asked.stream else self._speaking.tell
        return await way(request, principal, ask, ResponseTeller(made, sent))

    async def _embed(self, request: Request, principal: Principal, body: bytes) -> Reply:
        asked = read(body, EmbeddingBody)
        asked.ask({})
        ask = Ask(Skill.EMBED, asked.model, body)
        outcome, headers = await self._speaking.outcome(request, principal, ask)
        found = _vectors_in(outcome)
        self._speaking.note(request, found.usage)
        return Reply(200, headers, vectors.embeddings(asked, found))

    async def _rerank(self, request: Request, principal: Principal, body: bytes) -> Reply:
        asked = read(body, RerankBody)
        ask = Ask(Skill.RERANK, asked.model, body)
        outcome, headers = await self._speaking.outcome(request, principal, ask)
        made = self.made(request, "rerank-", asked.model)
        return Reply(200, headers, vectors.reranked(asked, _scores_in(outcome, len(asked.documents)), made))

    async def _score(self, request: Request, principal: Principal, body: bytes) -> Reply:
        asked = read(body, ScoreBody)
        documents: list[str] = [asked.text_2] if isinstance(asked.text_2, str) else asked.text_2
        question = {"query": asked.text_1, "documents": documents}
        ask = Ask(Skill.RERANK, asked.model, msgspec.json.encode(question))
        outcome, headers = await self._speaking.outcome(request, principal, ask)
        made = self.made(request, "score-", asked.model)
        return Reply(200, headers, vectors.scored(asked.model, _scores_in(outcome, len(documents)), made))

    async def _transcribe(self, request: Request, principal: Principal, body: bytes) -> Reply | None:
        return await self._heard(request, principal, transcripts.read_form(_type_of(request), body))

    async def _translate(self, request: Request, principal: Principal, body: bytes) -> Reply | None:
        asked = transcripts.read_form(_type_of(request), body, translate=True)
        return await self._heard(request, principal, asked)

    async def _heard(self, request: Request, principal: Principal, asked: TranscriptionBody) -> Reply | None:
        ask = Ask(Skill.TRANSCRIBE, asked.model, asked.encoded())
        if asked.ask.stream:
            return await self._speaking.stream(request, principal, ask, TranscriptTeller())
        outcome, headers = await self._speaking.outcome(request, principal, ask)
        headers[0] = type_header(transcripts.TYPES[asked.form])
        return Reply(200, headers, transcripts.transcript(asked, said_in(outcome)))

    def made(self, request: Request, prefix: str, model: str) -> Made:
        """Who answers, in the words of an answer."""
        request_id(request)
        made_id = prefix + request.invocation_id.replace("-", "")
        return Made(made_id, self._clock.unix_ms() // 1000, model)


def _type_of(request: Request) -> str:
    return request.headers.get(b"content-type", b"").decode("latin-1")


def _wants_usage(options: StreamOptions | None) -> bool:
    return options is not None and options.include_usage is True


def _vectors_in(outcome: Outcome) -> Vectors:
    try:
        found: Vectors = unpacker(Vectors).decode(outcome.body)
    except msgspec.DecodeError as error:
        raise Broken(unreadable(error)) from error
    if len(found.data) != found.count * found.dimensions * 4:
        raise Broken(unreadable(ValueError("vectors of another size than they say")))
    return found


def _scores_in(outcome: Outcome, count: int) -> Scores:
    try:
        found = from_json(outcome.body, Scores)
    except msgspec.DecodeError as error:
        raise Broken(unreadable(error)) from error
    if len(found.scores) != count:
        raise Broken(unreadable(ValueError(f"{len(found.scores)} scores for {count} documents")))
    return found
