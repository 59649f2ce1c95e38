"""Functions and models as tools of the Model Context Protocol, at `/mcp`, without sessions.

A key sees the tools of its project. The arguments of a call are the function's event; for a model they are
`{"instances": [...]}`. What goes wrong in user code is told in the result, so that whoever calls can read it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from lambent.core import schemas
from lambent.core.errors import Forbidden, LambentError, UserFault
from lambent.core.invocation import JSON, Invocation, Outcome, Principal, Role, Status
from lambent.core.spec import Interface, Kind, Program
from lambent.gateway.address import alias_of
from lambent.gateway.protocols import Behind, invocation_of, mcp_progress
from lambent.gateway.protocols.mcp_progress import Progress
from lambent.gateway.requests import Request
from lambent.gateway.responses import JSON_HEADER, Reply, headers_of, not_allowed
from lambent.pool.routes import Route
from lambent.wire import mcp, predict_v1, problem
from lambent.wire.mcp import Message, RpcError
from lambent.wire.predict_v1 import Asked, Key, Verb
from lambent.wire.process import Runtime

PATHS: Final = frozenset({"/mcp", "/mcp/"})
EVENTS: Final = b"text/event-stream"
VERSION: Final = b"mcp-protocol-version"
PAGE_TOOLS: Final = 100
CAPABILITIES: Final[Mapping[str, Mapping[str, bool]]] = {"tools": {}}
ANYTHING: Final[Mapping[str, Any]] = {"type": "object"}


class McpDoor:
    """`POST /mcp`: one JSON-RPC message in, its answer out."""

    def __init__(self, behind: Behind, *, version: str) -> None:
        self._behind: Final = behind
        self._server: Final = {"name": "lambent", "version": version}

    def claims(self, request: Request) -> bool:
        """Its one path."""
        return request.path in PATHS

    async def answer(self, request: Request) -> Reply | None:
        """None where events told it. Raises `Unauthenticated`, `Forbidden`, and as reading a body does."""
        if request.method != "POST":
            return not_allowed(request.method, request.path, ("POST",))
        _check_origin(request)
        principal = await self._behind.keys.authenticate(request.headers)
        principal.require(Role.INVOKE)
        async with self._behind.bodies.hold(principal.project) as hold:
            arrived_s = self._behind.clock.now_s()
            body = await request.body(self._behind.body_bytes_max, hold)
            version = request.headers.get(VERSION, b"").decode("latin-1")
            id_: str | int | msgspec.UnsetType = msgspec.UNSET
            is_modern = version in mcp.MODERN
            try:
                message = mcp.read(body)
                id_ = message.id
                _check_version(request, message, version)
                if message.is_notification:
                    return Reply(202, [])
                if (progress := mcp_progress.wanted(request, message)) is not None:
                    return await self._progressing(request, principal, message, progress, arrived_s=arrived_s)
                told = await self._told(request, principal, message, arrived_s=arrived_s)
            except RpcError as fault:
                status = mcp.STATUSES.get(fault.code, 200) if is_modern or id_ is msgspec.UNSET else 200
                if fault.code == mcp.UNSUPPORTED_VERSION:
                    status = 400
                return Reply(status, [JSON_HEADER], mcp.error(id_, fault))
        return _shaped(request, mcp.result(id_, _complete(told, is_modern=is_modern)))

    def refuse(self, request: Request, error: LambentError) -> Reply:
        """An error of JSON-RPC without an id, under the status that belongs to it."""
        fault = RpcError(mcp.INVALID_REQUEST, error.message, {"code": error.code})
        return Reply(error.status, [JSON_HEADER, *headers_of(error)], mcp.error(None, fault))

    async def _progressing(
        self,
        request: Request,
        principal: Principal,
        message: Message,
        progress: Progress,
        *,
        arrived_s: float,
    ) -> Reply | None:
        """Raises `RpcError` while nothing has gone out."""
        is_modern = request.headers.get(VERSION, b"").decode("latin-1") in mcp.MODERN
        async with progress.companions:
            try:
                told = await self._told(request, principal, message, arrived_s=arrived_s, progress=progress)
                body = mcp.result(message.id, _complete(told, is_modern=is_modern))
            except RpcError as fault:
                if not progress.is_open:
                    raise
                body = mcp.error(message.id, fault)
            if not progress.is_open:
                return _shaped(request, body)
            await progress.end(body)
        return None

    async def _told(
        self,
        request: Request,
        principal: Principal,
        message: Message,
        *,
        arrived_s: float,
        progress: Progress | None = None,
    ) -> Mapping[str, Any]:
        match message.method:
            case "initialize":
                wanted = message.params.get("protocolVersion")
                spoken = wanted if wanted in mcp.HANDSHAKE else mcp.HANDSHAKE[-1]
                return {"protocolVersion": spoken, "capabilities": CAPABILITIES, "serverInfo": self._server}
            case "server/discover":
                supported = [*mcp.HANDSHAKE, *mcp.MODERN]
                return {"supportedVersions": supported, "capabilities": CAPABILITIES, **_uncached()}
            case "ping":
                return {}
            case "tools/list":
                return self._tools(principal.project, message.params.get("cursor"))
            case "tools/call":
                return await self._called(
                    request, principal, message.params, arrived_s=arrived_s, progress=progress
                )
        raise RpcError(mcp.METHOD_NOT_FOUND, f"Method not found: {message.method}")

    def _tools(self, project: str, cursor: object) -> Mapping[str, Any]:
        """In the order of their names; a cursor is the last name that was told."""
        if not isinstance(cursor, str | None):
            raise RpcError(mcp.INVALID_PARAMS, "the cursor is none of this server's")
        there = sorted(
            (route for route in self._behind.routes.all() if route.project == project and _is_tool(route)),
            key=lambda route: route.name,
        )
        left = [route for route in there if cursor is None or route.name > cursor]
        told: dict[str, Any] = {"tools": [_tool(route) for route in left[:PAGE_TOOLS]], **_uncached()}
        if len(left) > PAGE_TOOLS:
            told["nextCursor"] = left[PAGE_TOOLS - 1].name
        return told

    async def _called(
        self,
        request: Request,
        principal: Principal,
        params: Mapping[str, Any],
        *,
        arrived_s: float,
        progress: Progress | None,
    ) -> Mapping[str, Any]:
        name, arguments = params.get("name"), params.get("arguments")
        route = self._behind.routes.get(principal.project, name) if isinstance(name, str) else None
        if route is None or not _is_tool(route):
            raise RpcError(mcp.INVALID_PARAMS, f"Unknown tool: {str(name)[:80]}")
        if not isinstance(arguments, dict | None):
            raise RpcError(mcp.INVALID_PARAMS, "arguments are an object")
        # A model says better itself how its rows have to be.
        if route.spec.schema and (fault := schemas.fault_of(arguments or {}, _schema(route))):
            return _failed(f"the arguments do not fit: {fault}")
        invocation = self._invocation(request, principal, route, arguments or {}, arrived_s=arrived_s)
        if invocation is None:
            return _failed("a model's arguments are instances, a list")
        try:
            outcome = await self._behind.invoker.invoke(invocation, client=request.client, streams=progress)
        except UserFault as error:
            return _failed(error.message)
        except LambentError as error:
            data = {"code": error.code, "retryable": error.retryable}
            raise RpcError(mcp.INTERNAL_ERROR, error.message, data) from error
        return _content(await progress.whole(outcome) if progress else outcome)

    def _invocation(
        self,
        request: Request,
        principal: Principal,
        route: Route,
        arguments: Mapping[str, Any],
        *,
        arrived_s: float,
    ) -> Invocation | None:
        """`None` where a model is given no rows."""
        body: object = arguments
        content_type = JSON
        if route.plan.runtime is Runtime.MODEL:
            body = arguments.get("instances")
            if not isinstance(body, list) or not body:
                return None
            content_type = predict_v1.content_type_of(Asked(Verb.PREDICT, Key.INSTANCES))
        return invocation_of(
            request,
            self._behind.routes,
            project=principal.project,
            name=route.name,
            alias=alias_of(request.headers),
            body=msgspec.json.encode(body),
            arrived_s=arrived_s,
            content_type=content_type,
        )


def _is_tool(route: Route) -> bool:
    """What takes one event and gives one answer."""
    spec = route.spec
    is_event = spec.interface is Interface.EVENT and spec.runtime is not Program.HTTP
    return route.invocable and is_event and (spec.kind is Kind.FUNCTION or not spec.skills)


def _tool(route: Route) -> Mapping[str, Any]:
    is_model = route.plan.runtime is Runtime.MODEL
    what = "predicts for each of the instances" if is_model else "is a function"
    schema = _schema(route)
    said = schema.pop("description", "")
    return {
        "name": route.name,
        "description": route.spec.description or str(said) or f"{route.name} {what}",
        "inputSchema": schema,
    }


def _schema(route: Route) -> dict[str, Any]:
    """Of a tool's arguments."""
    if route.plan.runtime is Runtime.MODEL:
        return {**mcp.rows_schema(route.plan.signature.inputs)}
    return {**(schemas.read(route.spec.schema) if route.spec.schema else ANYTHING)}


def _complete(told: Mapping[str, Any], *, is_modern: bool) -> Mapping[str, Any]:
    return {"resultType": "complete", **told} if is_modern else told


def _uncached() -> Mapping[str, Any]:
    return {"ttlMs": 0, "cacheScope": "private"}


def _content(outcome: Outcome) -> Mapping[str, Any]:
    if outcome.status is not Status.OK:
        document = problem.of_outcome(outcome)
        return _failed(
            f"{document.error_type}: {document.detail}" if document.error_type else document.detail
        )
    kind = outcome.content_type
    if kind.startswith((JSON, "text/")):
        text = outcome.body.decode("utf-8", "replace")
        told: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": False}
        if kind.startswith(JSON) and outcome.body[:1] == b"{":
            told["structuredContent"] = msgspec.Raw(outcome.body)
        return told
    blob = base64.b64encode(outcome.body).decode()
    if kind.startswith("image/"):
        return {"content": [{"type": "image", "data": blob, "mimeType": kind}], "isError": False}
    resource = {"uri": "lambent:result", "mimeType": kind, "blob": blob}
    return {"content": [{"type": "resource", "resource": resource}], "isError": False}


def _failed(text: str) -> Mapping[str, Any]:
    return {"content": [{"type": "text", "text": text}], "isError": True}


def _check_version(request: Request, message: Message, version: str) -> None:
    if version in mcp.MODERN:
        if not message.is_notification:
            method = request.headers.get(b"mcp-method", b"").decode("latin-1")
            mcp.check_modern(message, version, method)
    elif version and version not in mcp.HANDSHAKE:
        raise mcp.unsupported(version)


def _check_origin(request: Request) -> None:
    """Raise `Forbidden` for a page of another site, as the specification wants."""
    origin = request.headers.get(b"origin", b"").decode("latin-1")
    if origin and urlsplit(origin).netloc != request.headers.get(b"host", b"").decode("latin-1"):
        raise Forbidden(f"{origin[:80]} is another site than this server")


def _shaped(request: Request, body: bytes) -> Reply:
    """As JSON, or as the one event of a stream for who accepts nothing else."""
    accept = request.headers.get(b"accept", b"")
    if EVENTS in accept and b"application/json" not in accept and b"*/*" not in accept:
        return Reply(200, [(b"content-type", EVENTS)], mcp.as_event(body))
    return Reply(200, [JSON_HEADER], body)
