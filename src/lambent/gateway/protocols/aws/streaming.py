"""InvokeWithResponseStream: what a function yields, in the frames of AWS's event streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.errors import StillLoading, UserFault
from lambent.core.invocation import FunctionError, Invocation, Outcome, PrintTail, Role
from lambent.gateway.companions import Companions
from lambent.gateway.deadline import deadline_of
from lambent.gateway.flow import Flow
from lambent.gateway.protocols import Invoker
from lambent.gateway.protocols.aws.asked import Asked, Operation, request_id
from lambent.gateway.protocols.aws.calls import executed, invocation_of, not_loaded
from lambent.gateway.protocols.aws.invoke import REQUEST_RESPONSE, TYPE, Limits
from lambent.gateway.protocols.aws.naming import Named, Naming
from lambent.gateway.relay import as_is
from lambent.gateway.requests import Request
from lambent.gateway.responses import Header, Reply, outcome_headers
from lambent.pool.routes import Routes
from lambent.wire.aws import eventstream, faults, invoking

EVENTS: Final[Header] = (b"content-type", eventstream.CONTENT_TYPE.encode())


class Frames:
    """Passes one stream on, each piece in a frame. See `flow.Streams`.

    `told` are headers that are known when the stream begins.
    """

    def __init__(
        self,
        request: Request,
        headers: list[Header],
        *,
        bytes_max: int,
        frame: Callable[[bytes], bytes] = eventstream.payload_chunk,
        told: Callable[[Flow], list[Header]] = lambda _: [],
    ) -> None:
        self._request: Final = request
        self._headers: Final = headers
        self._frame: Final = frame
        self._told: Final = told
        self._room_bytes = bytes_max
        self._passing: asyncio.Task[None] | None = None
        self.companions: Final = Companions()
        self.too_long = False

    @property
    def is_used(self) -> bool:
        """Whether there is, or was, a stream."""
        return self._passing is not None

    def started(self, flow: Flow) -> None:
        """Nothing is added to the request."""

    def begun(self, flow: Flow) -> None:
        """From here on it is passed on."""
        self._passing = self.companions.start(self._pass(flow), name="frames")

    async def finish(self, last: bytes) -> None:
        """Send what is left of it, and its last frame."""
        if self._passing is not None:
            await self._passing
        await self._request.send({"type": "http.response.body", "body": last, "more_body": False})

    async def _pass(self, flow: Flow) -> None:
        try:
            headers = [EVENTS, *self._headers, *self._told(flow)]
            await self._request.send({"type": "http.response.start", "status": 200, "headers": headers})
            async for form, body in flow.pieces():
                piece = as_is(form, body)
                self._room_bytes -= len(piece)
                if self._room_bytes < 0:
                    self.too_long = True
                    flow.cancel()
                    return
                if piece:
                    await self._send(self._frame(piece))
        except BaseException:
            flow.cancel()
            raise

    async def _send(self, frame: bytes) -> None:
        await self._request.send({"type": "http.response.body", "body": frame, "more_body": True})


class InvokeStreaming:
    """A function that yields streams; the result of another is one chunk."""

    def __init__(
        self,
        *,
        invoker: Invoker,
        routes: Routes,
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        self._invoker: Final = invoker
        self._routes: Final = routes
        self._clock: Final = clock
        self._limits: Final = limits or Limits()
        self._naming: Final = Naming(routes)

    def operations(self) -> Iterator[tuple[str, str, Operation]]:
        """By method and path."""
        path = "/2021-11-15/functions/{FunctionName}/response-streaming-invocations"
        bytes_max = self._limits.request_bytes_max
        yield (
            "POST",
            path,
            Operation(name="InvokeWithResponseStream", run=self._invoke, request_bytes_max=bytes_max),
        )

    async def _invoke(self, asked: Asked) -> Reply | None:
        asked.principal.require(Role.INVOKE)
        named = self._naming.named(asked)
        match asked.request.headers.get(TYPE) or REQUEST_RESPONSE:
            case b"RequestResponse":
                pass
            case b"DryRun":
                return Reply(204, [*request_id(asked.request.invocation_id)])
            case other:
                allowed = "Member must satisfy enum value set: [RequestResponse, DryRun]"
                raise faults.invalid("invocationType", other.decode("latin-1"), allowed)
        deadline_s = deadline_of(asked.request.headers, self._clock.now_s())
        invocation = invocation_of(asked, named, self._routes, deadline_s=deadline_s)
        # Of an alias that is split the head cannot tell yet who will answer.
        plan = named.route.plan
        version = named.version or plan.version or str(plan.number)
        headers = [*request_id(invocation.id), (b"x-amz-executed-version", version.encode())]
        frames = Frames(asked.request, headers, bytes_max=self._limits.stream_bytes_max)
        async with frames.companions:
            try:
                outcome = await self._invoker.invoke(invocation, client=asked.request.client, streams=frames)
            except (UserFault, StillLoading) as error:
                return Reply(200, [EVENTS, *headers], _failed(not_loaded(error)))
            last = self._last(named, invocation, outcome, frames)
            if frames.is_used:
                await frames.finish(last)
                return None
        body = b"" if outcome.error is not None else eventstream.payload_chunk(outcome.body)
        return Reply(200, [EVENTS, *headers, *outcome_headers(invocation.id, outcome)], body + last)

    def _last(self, named: Named, invocation: Invocation, outcome: Outcome, frames: Frames) -> bytes:
        log = ""
        if invocation.print_tail is PrintTail.KEPT:
            version = executed(self._routes, named, outcome)
            now_unix_ms = self._clock.unix_ms()
            log = invoking.log_result(invocation.id, version, outcome, now_unix_ms=now_unix_ms)
        if frames.too_long:
            return _failed(invoking.response_too_large(self._limits.stream_bytes_max), log)
        if outcome.error is None:
            return eventstream.invoke_complete(log_result=log)
        payload = invoking.error_payload(invocation.id, outcome.status, outcome.error)
        return eventstream.invoke_complete(
            error_code=outcome.error.error_type, error_details=payload.decode(), log_result=log
        )


def _failed(error: FunctionError, log: str = "") -> bytes:
    details = msgspec.json.encode(error).decode()
    return eventstream.invoke_complete(error_code=error.error_type, error_details=details, log_result=log)
