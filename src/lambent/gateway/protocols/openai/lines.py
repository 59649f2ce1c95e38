"""The lines of a batch: each as what a model is asked, and its ticket as what OpenAI's API would answer."""

from __future__ import annotations

from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.errors import LambentError
from lambent.core.invocation import Invocation, new_id
from lambent.gateway.acceptance import Acceptance
from lambent.gateway.protocols.speaking import Ask, Speaking
from lambent.storage.tickets import Ticket, TicketState
from lambent.wire.frames import read_error
from lambent.wire.openai import vectors
from lambent.wire.openai.asked import ChatBody, CompletionBody, EmbeddingBody, read
from lambent.wire.openai.batches import Answered, Came, Line, LineError
from lambent.wire.openai.chat import ChatTeller
from lambent.wire.openai.completions import CompletionTeller
from lambent.wire.openai.errors import error_body
from lambent.wire.openai.events import Made
from lambent.wire.openai.responses import ResponseTeller
from lambent.wire.openai.responses_asked import ResponsesBody
from lambent.wire.skills import TYPES, Said, Skill, Vectors
from lambent.wire.speech import UNREADABLE, Teller, Trouble, trouble_of, unreadable
from lambent.wire.typed import from_json, unpacker

PREFIXES: Final = {
    "/v1/chat/completions": "chatcmpl-",
    "/v1/completions": "cmpl-",
    "/v1/embeddings": "",
    "/v1/responses": "resp_",
}


class BatchLines:
    """See `jobs.batch_work.Lines`. What streams elsewhere is answered as a whole."""

    def __init__(self, speaking: Speaking, acceptance: Acceptance, clock: Clock) -> None:
        self._speaking: Final = speaking
        self._acceptance: Final = acceptance
        self._clock: Final = clock

    async def accept(self, project: str, line: Line, *, key: str) -> Ticket:
        """The ticket of a line, on disk. Raises `LambentError` for what cannot be asked."""
        ask = _ask(line)
        route, alias = self._speaking.route_of(project, ask.model, ask.skill)
        invocation = Invocation(
            id=new_id(),
            project=project,
            deployment=route.name,
            body=ask.body,
            alias=alias,
            content_type=TYPES[ask.skill],
        )
        return await self._acceptance.accept(invocation, key=key)

    def told(self, name: str, line: Line, ticket: Ticket) -> Came:
        """A line whose ticket has ended."""
        if ticket.state is TicketState.SUCCEEDED and not ticket.error:
            try:
                body = self._answer(line, ticket)
            except (*UNREADABLE, LambentError) as error:
                trouble = unreadable(error)
            else:
                return _came(name, line, 200, ticket.id, body)
        else:
            trouble = _trouble(ticket)
        return _came(name, line, trouble.status, ticket.id, msgspec.json.encode(error_body(trouble)))

    def refused(self, name: str, line: Line, error: LambentError) -> Came:
        """A line that was not accepted."""
        trouble = trouble_of(error)
        return _came(name, line, trouble.status, name, msgspec.json.encode(error_body(trouble)))

    def _answer(self, line: Line, ticket: Ticket) -> bytes:
        created_s = (ticket.ended_unix_ms or self._clock.unix_ms()) // 1000
        made_id = PREFIXES[line.url] + ticket.id.replace("-", "")
        if line.url == "/v1/embeddings":
            return vectors.embeddings(read(_bytes(line), EmbeddingBody), _vectors_of(ticket))
        teller = _teller(line, Made(made_id, created_s, ticket.deployment))
        return teller.whole(from_json(ticket.result, Said))


def _bytes(line: Line) -> bytes:
    return bytes(line.body)


def _ask(line: Line) -> Ask:
    """What a line asks of which model. Raises `Refused`."""
    body = _bytes(line)
    if line.url == "/v1/responses":
        asked = read(body, ResponsesBody)
        return Ask(Skill.CHAT, asked.model or "", msgspec.structs.replace(asked, stream=None).chat())
    sent = read(body, dict)
    for name in ("stream", "stream_options"):
        sent.pop(name, None)
    whole = msgspec.json.encode(sent)
    if line.url == "/v1/chat/completions":
        chat = read(whole, ChatBody)
        return Ask(Skill.CHAT, chat.model, whole)
    if line.url == "/v1/completions":
        completion = read(whole, CompletionBody)
        completion.asks({})
        return Ask(Skill.COMPLETE, completion.model, whole)
    embedding = read(whole, EmbeddingBody)
    embedding.ask({})
    return Ask(Skill.EMBED, embedding.model, whole)


def _teller(line: Line, made: Made) -> Teller:
    body = _bytes(line)
    if line.url == "/v1/responses":
        asked = read(body, ResponsesBody)
        return ResponseTeller(_named(made, asked.model or ""), read(body, dict))
    if line.url == "/v1/chat/completions":
        chat = read(body, ChatBody)
        return ChatTeller(_named(made, chat.model), choices=chat.n or 1, usage_wanted=False)
    completion = read(body, CompletionBody)
    asks = completion.asks({})
    echoes = [one.prompt if isinstance(one.prompt, str) else "" for one in asks] if completion.echo else []
    made = _named(made, completion.model)
    return CompletionTeller(made, choices=len(asks), usage_wanted=False, echoes=echoes)


def _named(made: Made, model: str) -> Made:
    return msgspec.structs.replace(made, model=model) if model else made


def _vectors_of(ticket: Ticket) -> Vectors:
    found: Vectors = unpacker(Vectors).decode(ticket.result)
    if len(found.data) != found.count * found.dimensions * 4:
        raise ValueError("vectors of another size than they say")
    return found


def _trouble(ticket: Ticket) -> Trouble:
    """Why a line that ran has no answer."""
    if ticket.state is TicketState.CANCELLED:
        return Trouble(status=499, code="cancelled", message="it was cancelled")
    if ticket.state is TicketState.DEAD and ticket.result:
        error = read_error(ticket.result)
        message = f"{error.error_type}: {error.error_message}"
        return Trouble(status=500, code="user_code_failed", message=message)
    return Trouble(status=502, code=ticket.error.partition(":")[0] or "failed", message=ticket.error)


def _came(name: str, line: Line, status: int, request_id: str, body: bytes) -> Came:
    response = Answered(status_code=status, request_id=request_id, body=msgspec.Raw(body))
    error: LineError | None = None
    return Came(id=name, custom_id=line.custom_id, response=response, error=error)
