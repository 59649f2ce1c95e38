"""OpenAI's files, uploads and batches, and what of them is told to whom: `/v1/files` and so on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, Final

from lambent.core.errors import Conflict, LambentError, NotFound
from lambent.core.invocation import Principal, Role
from lambent.gateway.coding import coded, plain_body
from lambent.gateway.protocols import Behind
from lambent.gateway.protocols.openai.door import PREFIX, retry_headers
from lambent.gateway.protocols.speaking import request_id
from lambent.gateway.requests import Request
from lambent.gateway.responses import Reply, json_reply
from lambent.wire.openai.errors import error_body
from lambent.wire.speech import Refused, trouble_of

PIECE_BYTES: Final = 1 << 20
ROOTS: Final = ("/v1/files", "/v1/uploads", "/v1/batches", "/v1/fine_tuning/")
CLAIMED: Final = (*ROOTS, *(PREFIX + root for root in ROOTS))
ID_CHARACTERS_MAX: Final = 100


class Call:
    """One request: who asks, for which object, and with what body."""

    def __init__(self, request: Request, principal: Principal, object_id: str, body: bytes) -> None:
        self.principal: Final = principal
        self.id: Final = object_id
        self.query: Final = request.query
        self.body: Final = body
        self.content_type: Final = request.headers.get(b"content-type", b"").decode("latin-1")


class Content:
    """An answer that is a file."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path


Run = Callable[[Call], Awaitable[dict[str, Any] | Content]]


class Operation:
    """What one path does with one method, for whom, and where its answer comes from."""

    def __init__(
        self, method: str, path: str, role: Role, run: Run, *, body_bytes_max: int | None = None
    ) -> None:
        """`path` has `{id}` in place of an object's id. The limit of its body, where it has its own."""
        self.method: Final = method
        self.path: Final = path
        self.role: Final = role
        self.run: Final = run
        self.body_bytes_max: Final = body_bytes_max


class OfflineDoor:
    """Answers by a table of operations."""

    def __init__(self, behind: Behind, operations: Iterable[Operation]) -> None:
        self._behind: Final = behind
        self._operations: Final[dict[str, dict[str, Operation]]] = {}
        for one in operations:
            self._operations.setdefault(one.path, {})[one.method] = one

    def claims(self, request: Request) -> bool:
        """By the path."""
        return request.path.startswith(CLAIMED)

    async def answer(self, request: Request) -> Reply | None:
        """See `Door.answer`."""
        principal = await self._behind.keys.authenticate(request.headers)
        methods, object_id = self._found(request.path.removeprefix(PREFIX))
        method = "GET" if request.method == "HEAD" else request.method
        if methods is None:
            raise Refused(f"Invalid URL ({request.method} {request.path[:200]})", status=404)
        operation = methods.get(method)
        if operation is None:
            raise Refused(
                f"Not allowed to {request.method} on {request.path[:200]}",
                status=405,
                code="method_not_allowed",
            )
        principal.require(operation.role)
        async with self._behind.bodies.hold(principal.project) as hold:
            bytes_max = operation.body_bytes_max or self._behind.body_bytes_max
            body = b"" if method == "GET" else await plain_body(request, bytes_max, hold)
            try:
                answer = await operation.run(Call(request, principal, object_id, body))
            except NotFound as error:
                raise Refused(error.message, status=404, code="not_found", param="id") from error
            except Conflict as error:  # whose status clients try again
                raise Refused(error.message) from error
        if isinstance(answer, Content):
            return await _send(request, answer.path)
        return await coded(request, json_reply(200, answer, request_id(request)))

    def refuse(self, request: Request, error: LambentError) -> Reply:
        """`{"error": ...}`."""
        trouble = trouble_of(error)
        return json_reply(trouble.status, error_body(trouble), [*request_id(request), *retry_headers(error)])

    def _found(self, path: str) -> tuple[dict[str, Operation] | None, str]:
        """The operations of a path, and whose they are of."""
        known = self._operations.get(path)
        if known is not None:
            return known, ""
        pieces = path.split("/")
        for place in range(3, len(pieces)):
            named = pieces[place]
            pattern = "/".join([*pieces[:place], "{id}", *pieces[place + 1 :]])
            if (found := self._operations.get(pattern)) is not None and 0 < len(named) <= ID_CHARACTERS_MAX:
                return found, named
        return None, ""


async def _send(request: Request, path: Path) -> Reply | None:
    try:
        file: BinaryIO = await asyncio.to_thread(path.open, "rb")
    except OSError as error:
        raise Refused(
            f"No such File object: {path.name}", status=404, code="not_found", param="id"
        ) from error
    try:
        size_bytes = (await asyncio.to_thread(path.stat)).st_size
        headers = [
            (b"content-type", b"application/octet-stream"),
            (b"content-length", b"%d" % size_bytes),
            *request_id(request),
        ]
        await request.send({"type": "http.response.start", "status": 200, "headers": headers})
        left = 0 if request.method == "HEAD" else size_bytes
        while left and (piece := await asyncio.to_thread(file.read, min(PIECE_BYTES, left))):
            left -= len(piece)
            await request.send({"type": "http.response.body", "body": piece, "more_body": True})
        await request.send({"type": "http.response.body", "body": b""})
    finally:
        await asyncio.to_thread(file.close)
    return None
