"""Which of OpenAI's operations a request is of, and how it is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from lambent.core.errors import LambentError
from lambent.core.invocation import Principal, Role
from lambent.gateway.coding import coded, plain_body
from lambent.gateway.protocols import Behind
from lambent.gateway.protocols.openai.models import MODELS, Models
from lambent.gateway.protocols.speaking import request_id
from lambent.gateway.requests import Request
from lambent.gateway.responses import Header, Reply, headers_of, json_reply
from lambent.wire.openai.errors import error_body
from lambent.wire.speech import OWN_FAULT, Refused, trouble_of

PREFIX: Final = "/openai"  # where KServe serves the same

Run = Callable[[Request, Principal, bytes], Awaitable[Reply | None]]


class OpenAIDoor:
    """`/v1/...` as far as it is OpenAI's, and `/openai/v1/...`. `operations` are by path, all are POST."""

    def __init__(self, behind: Behind, *, operations: Iterable[tuple[str, Run]], models: Models) -> None:
        self._behind: Final = behind
        self._operations: Final[Mapping[str, Run]] = dict(operations)
        self._models: Final = models

    def claims(self, request: Request) -> bool:
        """By the path."""
        path = request.path
        if not path.startswith(("/v1/", PREFIX)):
            return False
        if path.startswith(PREFIX + "/v1/") or path in self._operations:
            return True
        if not path.startswith(MODELS):
            return False
        return path == MODELS or (path[len(MODELS)] == "/" and "/" not in path[len(MODELS) + 1 :])

    async def answer(self, request: Request) -> Reply | None:
        """See `Door.answer`."""
        path = request.path.removeprefix(PREFIX)
        principal = await self._behind.keys.authenticate(request.headers)
        if request.method in ("GET", "HEAD") and path.startswith(MODELS):
            return self._models.answer(request, principal, path)
        run = self._operations.get(path)
        if run is None:
            raise Refused(f"Invalid URL ({request.method} {request.path})", status=404)
        if request.method != "POST":
            raise Refused(
                f"Not allowed to {request.method} on {request.path}", status=405, code="method_not_allowed"
            )
        principal.require(Role.INVOKE)
        async with self._behind.bodies.hold(principal.project) as hold:
            body = await plain_body(request, self._behind.body_bytes_max, hold)
            reply = await run(request, principal, body)
        return None if reply is None else await coded(request, reply)

    def refuse(self, request: Request, error: LambentError) -> Reply:
        """`{"error": ...}`, in Anthropic's shape for its clients."""
        if self._models.is_anthropic(request):
            return self._models.refuse(request, error)
        trouble = trouble_of(error)
        headers = [*request_id(request), *retry_headers(error)]
        return json_reply(trouble.status, error_body(trouble), headers)


def retry_headers(error: LambentError) -> list[Header]:
    """When to come again: clients try what failed here twice more, also where that cannot help."""
    headers, trouble = headers_of(error), trouble_of(error)
    if error.retry_after_s is not None:
        headers.append((b"retry-after-ms", b"%d" % round(error.retry_after_s * 1e3)))
    if trouble.status >= OWN_FAULT and not trouble.retryable:
        headers.append((b"x-should-retry", b"false"))
    return headers
