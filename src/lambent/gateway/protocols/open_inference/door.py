"""The Open Inference Protocol over HTTP: `/v2/...`, with Triton's extensions that its clients use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from lambent.core.errors import CallerFault, LambentError, NotFound
from lambent.core.invocation import JSON, OCTETS, Principal, Role, new_id
from lambent.core.routing import OWN
from lambent.gateway.address import alias_of, sticky_of
from lambent.gateway.bodies import Hold
from lambent.gateway.coding import CODING, compressed, decompressed, wanted_coding
from lambent.gateway.deadline import deadline_of
from lambent.gateway.protocols import Behind
from lambent.gateway.protocols.open_inference.generating import Generating
from lambent.gateway.protocols.open_inference.inferring import Asked, Failed, Inferring
from lambent.gateway.protocols.open_inference.models import Found, Models
from lambent.gateway.requests import Request
from lambent.gateway.responses import (
    CONTENT_TYPES,
    JSON_HEADER,
    Reply,
    headers_of,
    id_headers,
    json_reply,
    outcome_headers,
)
from lambent.gateway.tracing import trace_of
from lambent.wire.open_inference import HEADER, Rope, answer, read_inference, read_object, read_raw, refusal
from lambent.wire.typed import from_json

ROOT: Final = "/v2"
NAME: Final = "lambent"
EXTENSIONS: Final = (
    "binary_tensor_data", "parameters", "model_configuration", "model_repository", "statistics", "generate",
)  # fmt: skip
MODELS: Final = "models"
REPOSITORY_BODY_BYTES_MAX: Final = 1024 * 1024


class IndexRequest(msgspec.Struct, frozen=True):
    """`ready`: only what is ready. Everything is."""

    ready: bool = False


class OpenInferenceDoor:
    """Health and metadata, inference, statistics and the repository. `accepts`: whether work is taken."""

    def __init__(self, behind: Behind, *, models: Models, version: str, accepts: Callable[[], bool]) -> None:
        self._behind: Final = behind
        self._inferring: Final = Inferring(behind.invoker, behind.routes)
        self._generating: Final = Generating(behind.invoker, behind.routes)
        self._models: Final = models
        self._version: Final = version
        self._accepts: Final = accepts

    def claims(self, request: Request) -> bool:
        """Whether it is under `/v2`."""
        return request.path.startswith(ROOT) and request.path[len(ROOT) : len(ROOT) + 1] in ("", "/")

    async def answer(self, request: Request) -> Reply | None:
        """Whatever the path names. Raises what the invoker raises."""
        match [part for part in request.path.split("/")[2:] if part]:
            case []:
                return self._about(request, await self._reader(request))
            case ["health", ("live" | "ready") as which]:
                return self._health(request, which)
            case ["models", "stats"]:
                return self._all_statistics(request, await self._reader(request))
            case ["models", name, *rest]:
                version, rest = (rest[1], rest[2:]) if len(rest) > 1 and rest[0] == "versions" else ("", rest)
                if len(rest) < 2:
                    return await self._of_model(request, name, version, rest[0] if rest else "")
            case ["repository", "index"]:
                return await self._index(request, await self._reader(request))
            case ["repository", "models", name, ("load" | "unload") as verb]:
                return await self._change(request, name, verb)
        raise NotFound(f"there is nothing at {request.path}")

    def refuse(self, request: Request, error: LambentError) -> Reply:
        """`{"error": "..."}`."""
        headers = [JSON_HEADER, *headers_of(error)]
        if isinstance(error, Failed):
            headers += outcome_headers(request.invocation_id, error.outcome)
        else:
            headers += id_headers(request.invocation_id)
        return Reply(_status_of(error), headers, refusal(error.message))

    def _health(self, request: Request, which: str) -> Reply:
        """KServe's client reads both words from either. A server that drains lives, and is not ready."""
        if (refused := _only(request, "GET")) is not None:
            return refused
        ready = self._accepts()
        fit = ready or which == "live"
        return json_reply(200 if fit else 503, {"live": True, "ready": ready})

    def _about(self, request: Request, _: Principal) -> Reply:
        about = {"name": NAME, "version": self._version, "extensions": EXTENSIONS}
        return _only(request, "GET") or json_reply(200, about)

    def _all_statistics(self, request: Request, principal: Principal) -> Reply:
        found = [
            self._models.find(route.project, route.name) for route in self._models.all(principal.project)
        ]
        stats = [self._models.statistics(one) for one in found]
        return _only(request, "GET") or json_reply(200, {"model_stats": stats})

    async def _of_model(self, request: Request, name: str, version: str, verb: str) -> Reply | None:
        if verb in ("infer", "generate", "generate_stream"):
            if (refused := _only(request, "POST")) is not None:
                return refused
            principal = await self._behind.keys.authenticate(request.headers)
            principal.require(Role.INVOKE)
            if verb == "infer":
                return await self._infer(request, principal, name, version)
            alias = OWN if version else alias_of(request.headers)
            found = self._models.find(principal.project, name, version, alias=alias)
            async with self._behind.bodies.hold(principal.project) as hold:
                return await self._generate(request, principal, found, hold, streams=verb != "generate")
        principal = await self._reader(request)
        found = self._models.find(principal.project, name, version)
        told: Mapping[str, Callable[[], object]] = {
            "": lambda: self._models.metadata(found),
            "ready": lambda: {"name": found.route.name, "ready": True},
            "config": lambda: self._models.config(found),
            "stats": lambda: {"model_stats": [self._models.statistics(found)]},
        }
        if verb not in told:
            raise NotFound(f"there is nothing at {request.path}")
        return _only(request, "GET") or json_reply(200, told[verb]())

    async def _infer(self, request: Request, principal: Principal, name: str, version: str) -> Reply:
        headers = request.headers
        found = self._models.find(
            principal.project, name, version, alias=OWN if version else alias_of(headers)
        )
        if found.alias == OWN:
            await self._behind.invoker.check_room(principal.project, name)
        async with self._behind.bodies.hold(principal.project) as hold:
            arrived_s = self._behind.clock.now_s()
            pieces = await self._pieces(request, hold)
            length = headers.get(HEADER)
            if length is not None and length.strip() == b"0":
                inference = read_raw(b"".join(pieces), found.route.plan.signature)
            else:
                inference = read_inference(Rope(pieces), length)
            asked = self._asked(request, principal, name, found.alias, arrived_s=arrived_s)
            inferred = await self._inferring.run(found, inference, asked, client=request.client)
        told, json_bytes = answer(name, inferred.version, inference.id, inferred.sheet, inferred.buffers)
        out = [
            CONTENT_TYPES[JSON if json_bytes is None else OCTETS],
            *outcome_headers(asked.invocation_id, inferred.outcome),
        ]
        if json_bytes is not None:
            out.append((HEADER, b"%d" % json_bytes))
        # Tensors hardly get shorter: who names all that it can read is answered as they are.
        coding, reply = wanted_coding(request.headers), Reply(200, out, told)
        return await compressed(coding, reply) if coding else reply

    async def _generate(
        self, request: Request, principal: Principal, found: Found, hold: Hold, *, streams: bool
    ) -> Reply | None:
        arrived_s = self._behind.clock.now_s()
        body = b"".join(await self._pieces(request, hold))
        asked = self._asked(request, principal, found.route.name, found.alias, arrived_s=arrived_s)
        return await self._generating.run(request, found, body, asked, streams=streams)

    async def _pieces(self, request: Request, hold: Hold) -> list[bytes]:
        pieces = await request.parts(self._behind.body_bytes_max, hold)
        if CODING not in request.headers:
            return pieces
        bytes_max = self._behind.body_bytes_max
        return [await decompressed(request.headers, b"".join(pieces), hold, bytes_max=bytes_max)]

    def _asked(
        self, request: Request, principal: Principal, name: str, alias: str, *, arrived_s: float
    ) -> Asked:
        request.invocation_id = new_id()
        return Asked(
            invocation_id=request.invocation_id,
            principal=principal,
            sticky=sticky_of(request.headers, self._behind.routes, principal.project, name, alias),
            deadline_s=deadline_of(request.headers, arrived_s),
            trace=trace_of(request.headers, request.scope["headers"]),
        )

    async def _index(self, request: Request, principal: Principal) -> Reply:
        if (refused := _only(request, "POST")) is not None:
            return refused
        async with self._behind.bodies.hold(principal.project) as hold:
            body = await request.body(REPOSITORY_BODY_BYTES_MAX, hold)
        try:
            from_json(body or b"{}", IndexRequest)
        except msgspec.DecodeError as error:
            raise CallerFault(f"failed to parse the request: {error}") from error
        return json_reply(200, self._models.index(principal.project))

    async def _change(self, request: Request, name: str, verb: str) -> Reply:
        principal = await self._behind.keys.authenticate(request.headers)
        principal.require(Role.DEPLOY)
        if (refused := _only(request, "POST")) is not None:
            return refused
        async with self._behind.bodies.hold(principal.project) as hold:
            check_load(await request.body(REPOSITORY_BODY_BYTES_MAX, hold))
        found = self._models.find(principal.project, name)
        await (self._models.load(found) if verb == "load" else self._models.unload(found))
        return Reply(200, [JSON_HEADER])

    async def _reader(self, request: Request) -> Principal:
        principal = await self._behind.keys.authenticate(request.headers)
        principal.require(Role.READ)
        return principal


def check_load(body: bytes) -> None:
    """Raise `CallerFault` for a load that would bring a model with it."""
    parameters = read_object(body or b"{}").get("parameters")
    if isinstance(parameters, dict) and (beyond := parameters.keys() - {"unload_dependents"}):
        raise CallerFault(
            f"the parameter {min(beyond)!r} is not known here: models are changed by `lambent deploy`"
        )


def _status_of(error: LambentError) -> int:
    if isinstance(error, Failed):
        return error.http_status
    return HTTPStatus.BAD_REQUEST if error.status == HTTPStatus.UNPROCESSABLE_ENTITY else error.status


def _only(request: Request, method: str) -> Reply | None:
    """A refusal of any other method."""
    allowed = (method, "HEAD") if method == "GET" else (method,)
    if request.method in allowed:
        return None
    allow = (b"allow", ", ".join(allowed).encode())
    return Reply(405, [JSON_HEADER, allow], refusal(f"{request.method} {request.path}: use {method}"))
