"""Anthropic's messages: every model that can chat answers its clients."""

from __future__ import annotations

from typing import Final

import msgspec

from lambent.core.errors import LambentError
from lambent.core.invocation import Principal, Role
from lambent.gateway.coding import coded, plain_body
from lambent.gateway.protocols import Behind
from lambent.gateway.protocols.openai.door import retry_headers
from lambent.gateway.protocols.speaking import Ask, Speaking, request_id, said_in
from lambent.gateway.requests import Request
from lambent.gateway.responses import Reply, json_reply
from lambent.wire.anthropic.asked import MessagesBody
from lambent.wire.anthropic.messages import MessageTeller
from lambent.wire.anthropic.plain import error_body
from lambent.wire.openai.asked import read
from lambent.wire.skills import Skill
from lambent.wire.speech import Refused, trouble_of

MESSAGES: Final = "/v1/messages"
COUNT: Final = MESSAGES + "/count_tokens"


class AnthropicDoor:
    """`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

    def __init__(self, behind: Behind, speaking: Speaking) -> None:
        self._behind: Final = behind
        self._speaking: Final = speaking

    def claims(self, request: Request) -> bool:
        """By the path."""
        return request.path in (MESSAGES, COUNT)

    async def answer(self, request: Request) -> Reply | None:
        """See `Door.answer`."""
        principal = await self._behind.keys.authenticate(request.headers)
        if request.method != "POST":
            raise Refused(f"{request.method} is not allowed on {request.path}: use POST", status=405)
        principal.require(Role.INVOKE)
        async with self._behind.bodies.hold(principal.project) as hold:
            asked = read(await plain_body(request, self._behind.body_bytes_max, hold), MessagesBody)
            if request.path == COUNT:
                return await self._count(request, principal, asked)
            reply = await self._messages(request, principal, asked)
        return None if reply is None else await coded(request, reply)

    def refuse(self, request: Request, error: LambentError) -> Reply:
        """`{"type": "error", ...}`."""
        trouble = trouble_of(error)
        headers = [*request_id(request), *retry_headers(error)]
        return json_reply(trouble.status, error_body(trouble, request.invocation_id), headers)

    async def _messages(self, request: Request, principal: Principal, asked: MessagesBody) -> Reply | None:
        if asked.max_tokens is None:
            raise Refused("max_tokens: Field required", param="max_tokens")
        request_id(request)
        message_id = "msg_" + request.invocation_id.replace("-", "")
        teller = MessageTeller(message_id, asked.model, request.invocation_id)
        way = self._speaking.stream if asked.stream else self._speaking.tell
        return await way(request, principal, Ask(Skill.CHAT, asked.model, asked.chat()), teller)

    async def _count(self, request: Request, principal: Principal, asked: MessagesBody) -> Reply:
        """What a model says that it has read, when it says next to nothing."""
        brief = msgspec.structs.replace(asked, max_tokens=1, stream=False)
        ask = Ask(Skill.CHAT, asked.model, brief.chat())
        outcome, headers = await self._speaking.outcome(request, principal, ask)
        usage = said_in(outcome).usage
        if usage is None:
            raise Refused(f"{asked.model} does not say how many tokens it reads", code="unsupported_model")
        return Reply(200, headers, msgspec.json.encode({"input_tokens": usage.input_tokens}))
