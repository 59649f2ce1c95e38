"""The endpoints of the Runtime API (2018-06-01): who polls, who answers, what AWS says to what is wrong."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from lambent.core.invocation import JSON, OCTETS
from lambent.runtimes.faults import Fault
from lambent.runtimes.lambda_api.answers import (
    ERROR_TYPE,
    REPORT_BYTES_MAX,
    Answering,
    Failure,
    Known,
    Streaming,
    Whole,
    out_of_turn,
    refused,
)
from lambent.runtimes.lambda_api.http import Asked, Begin, Exchange, Sink
from lambent.runtimes.lambda_api.work import Ended, Work
from lambent.wire.frames import BODY_BYTES_MAX

ROOT: Final = "/2018-06-01/runtime/"
MODE: Final = "lambda-runtime-function-response-mode"
# What curl says of everything that it is not told the type of; awslambdaric, of a handler's bytes.
TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {"": JSON, "application/x-www-form-urlencoded": JSON, "application/unknown": OCTETS}
)


class InvocationApi:
    """The endpoints, and what they know. `concurrency` invocations may be in the program's hands at once."""

    def __init__(self, *, concurrency: int, restores: bool, settle: Callable[[], None]) -> None:
        """`restores`: it may ask when it has been restored. `settle` is called before an invocation ends."""
        self._concurrency: Final = concurrency
        self._restores: Final = restores
        self._settle: Final = settle
        self._pollers: Final[deque[Poll]] = deque()
        self._waiting: Final[deque[Work]] = deque()
        self._running: Final[dict[str, Work]] = {}
        self._over: BaseException | None = None
        # Done when it polls for the first time, or says that it never will.
        self.ready: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()

    @property
    def busy(self) -> bool:
        """Whether an invocation waits for the program, or for its answer."""
        return bool(self._running or self._waiting)

    @property
    def polled(self) -> int:
        """How many polls wait for an invocation."""
        return len(self._pollers)

    def offer(self, work: Work) -> None:
        """Give an invocation to the program when it polls next."""
        if self._over is not None:
            work.end(Ended(error=self._over))
        elif self._pollers:
            self._hand_out(work, self._pollers.popleft())
        else:
            self._waiting.append(work)

    def withdraw(self, work: Work) -> bool:
        """Nobody waits for this one; False where the program has it already, and cannot be told."""
        if work not in self._waiting:
            return False
        self._waiting.remove(work)
        return True

    def close(self, why: BaseException) -> None:
        """The program has gone: nothing that it has not answered will be."""
        self._over = why
        if not self.ready.done():
            self.ready.set_exception(why)
        for work in (*self._running.values(), *self._waiting):
            work.end(Ended(error=why))
        self._running.clear()
        self._waiting.clear()

    def begin(self, asked: Asked, exchange: Exchange) -> Sink:
        """Take a request. See `http.Begin`."""
        endpoint = self._endpoint(asked.path)
        if endpoint is None:
            return refused(exchange, 404, "NotFound", f"there is nothing at {asked.path}")
        method, take = endpoint
        if asked.method != method:
            return refused(exchange, 405, "MethodNotAllowed", f"{asked.path} takes {method}")
        return take(asked, exchange)

    def _endpoint(self, path: str) -> tuple[str, Begin] | None:
        """The method that a path takes, and who takes it."""
        match path.removeprefix(ROOT).split("/") if path.startswith(ROOT) else ():
            case ["invocation", "next"]:
                return "GET", self._next
            case ["invocation", _, "response" | "error"]:
                return "POST", self._answer
            case ["init", "error"]:
                return "POST", self._init_error
            case ["restore", "next"]:
                return "GET", self._restore
            case ["restore", "error"]:
                return "POST", self._restore_error
        return None

    def _next(self, _: Asked, exchange: Exchange) -> Sink:
        if len(self._running) >= self._concurrency:
            return out_of_turn(exchange, f"{len(self._running)} invocations are not answered yet")
        return Poll(exchange, self._polls, self._leaves)

    def _polls(self, poll: Poll) -> None:
        if not self.ready.done():
            self.ready.set_result(None)
        if self._waiting:
            self._hand_out(self._waiting.popleft(), poll)
            return
        self._pollers.append(poll)
        if len(self._pollers) + len(self._running) > self._concurrency:
            # Whose connection has ended may not have been heard of yet: the last one is meant.
            self._pollers.popleft().supersede()

    def _leaves(self, poll: Poll) -> None:
        if poll in self._pollers:
            self._pollers.remove(poll)

    def _hand_out(self, work: Work, poll: Poll) -> None:
        self._running[work.event.request_id] = work
        poll.exchange.reply(200, work.event.body, work.event.head)

    def _answer(self, asked: Asked, exchange: Exchange) -> Sink:
        *_, request_id, what = asked.path.split("/")
        work = self._running.get(request_id)
        if work is None:
            return refused(
                exchange, 400, "InvalidRequestID", f"no invocation {request_id} waits for an answer"
            )
        if work.answering:
            return out_of_turn(exchange, f"the invocation {request_id} is being answered")
        work.answering = True
        answer = Answering(work, exchange, self._end)
        if what == "error":
            error_type = asked.headers.get(ERROR_TYPE, "")
            return Whole(answer, REPORT_BYTES_MAX, lambda body: answer.failed(body, error_type))
        content_type = asked.headers.get("content-type", "")
        content_type = TYPES.get(content_type.partition(";")[0].strip().lower(), content_type)
        if asked.headers.get(MODE, "").lower() == "streaming":
            return Streaming(answer, content_type)
        return Whole(answer, BODY_BYTES_MAX, lambda body: answer.end(Ended(body, content_type)))

    def _end(self, work: Work, how: Ended) -> None:
        if self._running.pop(work.event.request_id, None) is not None:
            self._settle()
        work.end(how)

    def _init_error(self, asked: Asked, exchange: Exchange) -> Sink:
        if self.ready.done():
            return out_of_turn(exchange, "it has polled, or failed, already")
        return Failure(exchange, asked.headers.get(ERROR_TYPE, ""), self._fails)

    def _restore(self, _: Asked, exchange: Exchange) -> Sink:
        if not self._restores or self.ready.done():
            return out_of_turn(exchange, "only AWS_LAMBDA_INITIALIZATION_TYPE=snap-start restores, once")
        # There is no snapshot of another program: it has been restored as soon as it asks.
        return Known(exchange, 200)

    def _restore_error(self, asked: Asked, exchange: Exchange) -> Sink:
        if not self._restores:
            return out_of_turn(exchange, "only AWS_LAMBDA_INITIALIZATION_TYPE=snap-start restores")
        return self._init_error(asked, exchange)

    def _fails(self, fault: Fault) -> None:
        if not self.ready.done():
            self.ready.set_exception(fault)


class Poll:
    """One that waits for an invocation."""

    def __init__(
        self, exchange: Exchange, polls: Callable[[Poll], None], leaves: Callable[[Poll], None]
    ) -> None:
        self.exchange: Final = exchange
        self._polls: Final = polls
        self._leaves: Final = leaves

    def feed(self, piece: bytes) -> None:
        """A poll says nothing."""

    def end(self, trailers: Mapping[str, str]) -> None:
        self._polls(self)

    def broken(self) -> None:
        self._leaves(self)

    def supersede(self) -> None:
        """Another one has come for what this one waits for."""
        out_of_turn(self.exchange, "a later poll took its place").end({})
