"""The Open Inference Protocol over gRPC. Imported when the first client has come: gRPC takes 16 MiB.

Methods that take one message are served as if they took a stream of them, which is the same on the wire: who
calls is asked for a key, and finds room, before the message is read; it is counted before it is parsed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import accumulate
from types import MappingProxyType
from typing import Any, Final, cast

import grpc

from lambent.core.errors import (
    CallerFault,
    Conflict,
    DeadlinePassed,
    Draining,
    Forbidden,
    HoldExpired,
    LambentError,
    NotFound,
    PayloadTooLarge,
    PlatformFault,
    QueueFull,
    Unauthenticated,
)
from lambent.core.invocation import Principal, Role, Status, new_id
from lambent.core.routing import OWN
from lambent.core.tracing import read_parent
from lambent.gateway.address import alias_of, sticky_of
from lambent.gateway.flow import Flow
from lambent.gateway.presence import ClientLeft, Presence
from lambent.gateway.protocols import Behind
from lambent.gateway.protocols.open_inference import messages
from lambent.gateway.protocols.open_inference.arriving import Arriving, CallsAtOnce, parsed
from lambent.gateway.protocols.open_inference.inferring import (
    Asked,
    Failed,
    Inferred,
    Inferring,
    content_type_of,
    piece_of,
)
from lambent.gateway.protocols.open_inference.models import Found, Models
from lambent.gateway.protocols.open_inference.rpc_server import CALLS_MAX
from lambent.wire.inference_proto import MESSAGES, SERVICE
from lambent.wire.tensors import Form

NAME: Final = "lambent"
EXTENSIONS: Final = ("parameters", "model_configuration", "model_repository", "statistics")
DETAILS_BYTES_MAX: Final = 6 * 1024  # of what an error says, as it travels

log = logging.getLogger(__name__)

Code: Final = grpc.StatusCode
CODES: Final[Mapping[type[LambentError], Any]] = MappingProxyType(
    {
        NotFound: Code.NOT_FOUND,
        Unauthenticated: Code.UNAUTHENTICATED,
        Forbidden: Code.PERMISSION_DENIED,
        PayloadTooLarge: Code.RESOURCE_EXHAUSTED,
        Conflict: Code.ABORTED,
        CallerFault: Code.INVALID_ARGUMENT,
        DeadlinePassed: Code.DEADLINE_EXCEEDED,
        HoldExpired: Code.DEADLINE_EXCEEDED,
        QueueFull: Code.RESOURCE_EXHAUSTED,
        Draining: Code.UNAVAILABLE,
        PlatformFault: Code.UNAVAILABLE,
    }
)
ENDS: Final[Mapping[Status, Any]] = MappingProxyType(
    {
        Status.FAILED: Code.INTERNAL,
        Status.TIMED_OUT: Code.DEADLINE_EXCEEDED,
        Status.CANCELLED: Code.CANCELLED,
        Status.EXITED: Code.INTERNAL,
    }
)

Method = Callable[[Any, Any], Awaitable[Any]]


class Rpc:
    """The service's methods. `tasks` outlive a call whose client has gone."""

    def __init__(
        self,
        behind: Behind,
        *,
        models: Models,
        tasks: asyncio.TaskGroup,
        version: str,
        accepts: Callable[[], bool],
    ) -> None:
        self._behind: Final = behind
        self._inferring: Final = Inferring(behind.invoker, behind.routes)
        self._calls: Final = CallsAtOnce(calls_max=CALLS_MAX)
        self._arriving: Final = Arriving(
            bytes_max=behind.bodies.bytes_max, message_bytes_max=behind.body_bytes_max
        )
        self._models: Final = models
        self._tasks: Final = tasks
        self._version: Final = version
        self._accepts: Final = accepts

    def handler(self) -> Any:
        """All of them, as gRPC wants it."""
        reads: dict[str, Callable[[Principal, Any], Any]] = {
            "ServerMetadata": self._about,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._metadata,
            "ModelConfig": self._config,
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
        }
        methods: dict[str, Method] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            **{name: self._reads(name, tell) for name, tell in reads.items()},
            "ModelInfer": self._infer,
            "RepositoryModelLoad": self._changes("Load", self._models.load),
            "RepositoryModelUnload": self._changes("Unload", self._models.unload),
        }
        handlers = {
            name: grpc.stream_unary_rpc_method_handler(
                _guarded(method),
                response_serializer=MESSAGES[f"{name}Response"].SerializeToString,
            )
            for name, method in methods.items()
        }
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            _guarded(self._stream_infer),
            response_serializer=MESSAGES["ModelStreamInferResponse"].SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    # Each method gets the messages of its call, and the call.

    # Nothing of what has no key is read.

    async def _live(self, _: AsyncIterator[bytes], __: Any) -> Any:
        return MESSAGES["ServerLiveResponse"](live=True)

    async def _ready(self, _: AsyncIterator[bytes], __: Any) -> Any:
        return MESSAGES["ServerReadyResponse"](ready=self._accepts())

    def _about(self, _: Principal, __: Any) -> Any:
        return MESSAGES["ServerMetadataResponse"](name=NAME, version=self._version, extensions=EXTENSIONS)

    def _model_ready(self, principal: Principal, asked: Any) -> Any:
        try:
            self._models.find(principal.project, asked.name, asked.version)
        except NotFound:
            return MESSAGES["ModelReadyResponse"](ready=False)
        return MESSAGES["ModelReadyResponse"](ready=True)

    def _metadata(self, principal: Principal, asked: Any) -> Any:
        found = self._models.find(principal.project, asked.name, asked.version)
        return MESSAGES["ModelMetadataResponse"](**self._models.metadata(found))

    def _config(self, principal: Principal, asked: Any) -> Any:
        found = self._models.find(principal.project, asked.name, asked.version)
        return messages.config(self._models.config(found))

    def _statistics(self, principal: Principal, asked: Any) -> Any:
        names = [asked.name] if asked.name else [one.name for one in self._models.all(principal.project)]
        found = [self._models.find(principal.project, name, asked.version) for name in names]
        return messages.statistics([self._models.statistics(one) for one in found])

    def _index(self, principal: Principal, _: Any) -> Any:
        return MESSAGES["RepositoryIndexResponse"](models=self._models.index(principal.project))

    async def _infer(self, sent: AsyncIterator[bytes], call: Any) -> Any:
        async with self._asks(call, Role.INVOKE) as principal:
            async with self._behind.bodies.hold(principal.project) as hold:
                request = await self._arriving.message(sent, "ModelInferRequest", hold)
                inferred = await self._inferred(request, principal, call)
            return self._response(request, inferred)

    async def _stream_infer(self, sent: AsyncIterator[bytes], call: Any) -> None:
        async with self._asks(call, Role.INVOKE) as principal:
            async for message in sent:
                async with self._behind.bodies.hold(principal.project) as hold:
                    request = parsed(message, "ModelInferRequest", hold)
                    del message  # or it would lie beside what was made of it
                    await self._answer_in_stream(request, principal, call)

    @asynccontextmanager
    async def _asks(self, call: Any, role: Role) -> AsyncIterator[Principal]:
        """Who calls, while the call is open. Raises `Unauthenticated`, `Forbidden`, `QueueFull`."""
        principal = await self._behind.keys.authenticate(_headers(call))
        principal.require(role)
        with self._calls.one(principal.project):
            yield principal

    async def _answer_in_stream(self, request: Any, principal: Principal, call: Any) -> None:
        """An error ends one inference, and not the stream."""
        pieces = _Pieces(request, call, self._tasks)
        try:
            inferred = await self._inferred(request, principal, call, pieces)
        except LambentError as error:
            await pieces.over()
            failed = MESSAGES["ModelInferResponse"](id=request.id, model_name=request.model_name)
            await call.write(
                MESSAGES["ModelStreamInferResponse"](error_message=error.message, infer_response=failed)
            )
            return
        if not pieces.began:
            await call.write(messages.streamed(self._response(request, inferred), last=True))
            return
        await pieces.over()
        if messages.parameters_of(request).get(messages.WANTS_EMPTY_FINAL):
            await call.write(messages.streamed(pieces.empty(), last=True))

    async def _inferred(
        self, request: Any, principal: Principal, call: Any, streams: _Pieces | None = None
    ) -> Inferred:
        headers = _headers(call)
        version = request.model_version
        alias = OWN if version else alias_of(headers)
        found = self._models.find(principal.project, request.model_name, version, alias=alias)
        inference = messages.read_inference(request)
        rest_s = call.time_remaining()
        asked = Asked(
            invocation_id=new_id(),
            principal=principal,
            sticky=sticky_of(headers, self._behind.routes, principal.project, found.route.name, found.alias),
            deadline_s=None if rest_s is None else self._behind.clock.now_s() + rest_s,
            trace=read_parent(headers.get(b"traceparent", b"").decode("latin-1"), [], xray=""),
        )
        client = Presence()
        running = self._tasks.create_task(
            _kept(self._inferring.run(found, inference, asked, client=client, streams=streams))
        )
        try:
            ended = await asyncio.shield(running)
        except asyncio.CancelledError:  # the client has left, or its deadline has passed
            client.leave()
            raise
        if isinstance(ended, BaseException):
            raise ended
        return cast(Inferred, ended)

    def _response(self, request: Any, inferred: Inferred) -> Any:
        return messages.response(
            request.model_name, inferred.version, request.id, inferred.sheet, inferred.buffers
        )

    def _reads(self, name: str, tell: Callable[[Principal, Any], Any]) -> Method:
        async def method(sent: AsyncIterator[bytes], call: Any) -> Any:
            async with (
                self._asks(call, Role.READ) as principal,
                self._behind.bodies.hold(principal.project) as hold,
            ):
                return tell(principal, await self._arriving.message(sent, f"{name}Request", hold))

        return method

    def _changes(self, verb: str, change: Callable[[Found], Awaitable[None]]) -> Method:
        name = f"RepositoryModel{verb}"
        done = f"is{verb}ed"

        async def method(sent: AsyncIterator[bytes], call: Any) -> Any:
            async with (
                self._asks(call, Role.DEPLOY) as principal,
                self._behind.bodies.hold(principal.project) as hold,
            ):
                asked = await self._arriving.message(sent, f"{name}Request", hold)
                if beyond := {*asked.parameters} - {"unload_dependents"}:
                    raise CallerFault(
                        f"the parameter {min(beyond)!r} is not known here: use `lambent deploy`"
                    )
                # KServe's own definition has the name where Triton's has that of a repository.
                found = self._models.find(principal.project, asked.model_name or asked.repository_name)
                await change(found)
            return MESSAGES[f"{name}Response"](**{"model_name": found.route.name, done: True})

        return method


class _Pieces:
    """Sends what streams as a response for each piece. See `flow.Streams`."""

    def __init__(self, request: Any, call: Any, tasks: asyncio.TaskGroup) -> None:
        self._request: Final = request
        self._call: Final = call
        self._tasks: Final = tasks
        self._passing: asyncio.Task[BaseException | None] | None = None

    @property
    def began(self) -> bool:
        """Whether there is, or was, a stream."""
        return self._passing is not None

    def started(self, flow: Flow) -> None:
        """Nothing is added to the request."""

    def begun(self, flow: Flow) -> None:
        """From here on it is passed on."""
        self._passing = self._tasks.create_task(_kept(self._pass(flow)))

    async def over(self) -> None:
        """All of it has been sent. Raises what prevented that."""
        if self._passing is not None and isinstance(ended := await self._passing, BaseException):
            raise ended

    def empty(self) -> Any:
        """A response without outputs."""
        request = self._request
        return MESSAGES["ModelInferResponse"](
            model_name=request.model_name, model_version=request.model_version, id=request.id
        )

    async def _pass(self, flow: Flow) -> None:
        try:
            async for form, body in flow.pieces():
                sheet, buffers = piece_of(content_type_of(form), body, Form.RAW)
                request = self._request
                one = messages.response(request.model_name, request.model_version, request.id, sheet, buffers)
                await self._call.write(messages.streamed(one, last=False))
        except BaseException:
            flow.cancel()
            raise


async def _kept(work: Awaitable[Any]) -> Any:
    """How it ended: the group that it runs in must not end with it."""
    try:
        return await work
    except (LambentError, ClientLeft, grpc.RpcError) as error:
        return error
    except Exception as error:
        log.exception("rpc_crashed")
        return error


def _headers(call: Any) -> Mapping[bytes, bytes]:
    """The call's metadata as headers."""
    return {
        name.encode(): value if isinstance(value, bytes) else value.encode("latin-1", "replace")
        for name, value in call.invocation_metadata() or ()
    }


def _guarded(method: Method) -> Method:
    """Errors as gRPC's codes."""

    async def guarded(sent: AsyncIterator[Any], call: Any) -> Any:
        try:
            return await method(sent, call)
        except LambentError as error:
            await call.abort(_code(error), _short(error.message))
        except ClientLeft:
            await call.abort(Code.CANCELLED, "the client has left")
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("rpc_crashed")
            await call.abort(Code.INTERNAL, "the server could not answer this call; its log says why")

    return guarded


def _short(message: str) -> str:
    """What fits into a trailer: a client that gets more than 8 KiB of them sees neither code nor words.

    gRPC writes in three what is no printable ASCII ("gRPC over HTTP2", Percent-Encoded).
    """
    sizes = accumulate(
        1 if " " <= one <= "~" and one != "%" else 3 * len(one.encode("utf-8", "replace"))
        for one in message[:DETAILS_BYTES_MAX]
    )
    fitting = sum(size <= DETAILS_BYTES_MAX for size in sizes)
    return message if fitting == len(message) else f"{message[:fitting]}…"


def _code(error: LambentError) -> Any:
    if isinstance(error, Failed):
        return Code.INVALID_ARGUMENT if error.http_status < 500 else ENDS[error.outcome.status]
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), Code.INTERNAL)
