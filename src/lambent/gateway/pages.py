"""The server's own pages: what doors there are, whether it lives, and its metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from lambent.core.errors import Forbidden, LambentError
from lambent.core.invocation import Role
from lambent.core.naming import PROJECT
from lambent.gateway.auth import Keys
from lambent.gateway.readiness import Readiness
from lambent.gateway.requests import Request
from lambent.gateway.responses import Reply, json_reply, no_such_path, not_allowed, refusal

DOORS: Final[Mapping[str, str]] = {
    "POST /invoke/{name}": "run a deployment: the body is the event, the answer is the result",
    "GET /invocations/{id}": "the outcome of an invocation that was accepted for later",
    "POST /2015-03-31/functions/{name}/invocations": "the same for clients of AWS Lambda",
    "POST /v1/models/{name}:predict": "the same for clients of TensorFlow Serving and KServe's V1",
    "POST /v2/models/{name}/infer": "the same with tensors, by the Open Inference Protocol",
    "POST /v1/chat/completions": "talk to a model, as OpenAI's clients do; GET /v1/models lists them",
    "POST /v1/messages": "the same for Anthropic's clients",
    "POST /mcp": "functions and models as tools of the Model Context Protocol",
    "GET /api/v1/openapi.json": "the control API, described; read it at /api/v1/docs",
    "GET /metrics": "what happens, for Prometheus: its text format, or OpenMetrics for who accepts that",
    "GET /livez": "whether the server lives; <code>/healthz</code> says the same",
    "GET /readyz": "whether it takes new work: not while it drains, nor when its store cannot be read",
}
UNKEPT: Final = ((b"cache-control", b"no-store"),)
LANDING: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Lambent</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;margin:3rem auto;max-width:46rem;padding:0 1rem}}
code{{background:#8882;padding:.1em .3em;border-radius:.2em}}dd{{margin:0 0 .8em 0}}</style>
<h1>Lambent</h1>
<p>Every door but the two for health asks for a key: <code>Authorization: Bearer KEY</code>.
The key of this machine is in <code>server.json</code> in the state directory.</p>
<dl>{doors}</dl>
<p><a href="/api/v1/docs">The control API</a></p></html>
"""


Pieces = tuple[Iterable[str], str]


class Pages:
    """`/`, `/livez`, `/healthz`, `/readyz` and `/metrics`; every other path is nobody's.

    `metrics` takes what is accepted, and gives a page in pieces and its content type.
    """

    def __init__(self, *, keys: Keys, metrics: Callable[[str], Pieces], readiness: Readiness) -> None:
        self._keys: Final = keys
        self._render: Final = metrics
        self._readiness: Final = readiness
        self._pages: Final[Mapping[str, Callable[[Request], Awaitable[Reply]]]] = {
            "/": self._landing,
            "/livez": self._livez,
            "/healthz": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
        }

    async def answer(self, request: Request) -> Reply:
        """The page. Raises `Unauthenticated` and `Forbidden`."""
        page = self._pages.get(request.path)
        if page is None:
            return no_such_path(request.path)
        if request.method not in ("GET", "HEAD"):
            return not_allowed(request.method, request.path, ("GET", "HEAD"))
        return await page(request)

    def refuse(self, _: Request, error: LambentError) -> Reply:
        """A problem document."""
        return refusal(error)

    async def _landing(self, _: Request) -> Reply:
        """It knows nothing of what is deployed, so it needs no key; it may load and run nothing."""
        doors = "".join(f"<dt><code>{path}</code></dt><dd>{purpose}</dd>" for path, purpose in DOORS.items())
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
        ]
        return Reply(200, headers, LANDING.format(doors=doors).encode())

    async def _livez(self, _: Request) -> Reply:
        """This answer is the proof: whoever gets none may end the server and start another."""
        return json_reply(200, {"status": "ok"}, UNKEPT)

    async def _readyz(self, _: Request) -> Reply:
        if trouble := await self._readiness.trouble():
            return json_reply(503, {"status": trouble}, [*UNKEPT, (b"retry-after", b"1")])
        return json_reply(200, {"status": "ready"}, UNKEPT)

    async def _metrics(self, request: Request) -> Reply:
        principal = await self._keys.authenticate(request.headers)
        principal.require(Role.READ)
        if principal.project != PROJECT:
            raise Forbidden(f"these are of all projects, for keys of {PROJECT!r}; this one is of another")
        pieces, content_type = self._render(request.headers.get(b"accept", b"").decode("latin-1"))
        page: list[str] = []
        for piece in pieces:
            page.append(piece)
            await asyncio.sleep(0)  # others have their turn: a page of thousands of deployments is long
        headers = [(b"content-type", content_type.encode()), (b"vary", b"accept")]
        return Reply(200, headers, "".join(page).encode())
