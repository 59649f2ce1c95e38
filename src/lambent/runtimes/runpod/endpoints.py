"""The endpoints that RunPod's worker loop polls, as its package (1.12) asks them.

`/job-take/` waits for a job, `/job-take-batch/` for several, `/job-stop/` for the ids of jobs to stop;
`/job-done/` and `/job-stream/` take results, as JSON, whatever type they are said to be of.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from lambent.runtimes.lambda_api.http import Asked, Exchange, Sink
from lambent.wire.frames import BODY_BYTES_MAX

JSON_LINE: Final = b"Content-Type: application/json\r\n"
NOBODY: Final = "-"  # no job's id


class Job:
    """One invocation in the program's hands. `news` are the partial outputs, then `Result`, or why not."""

    def __init__(self, job_id: str, document: bytes) -> None:
        self.id: Final = job_id
        self.document: Final = document
        self.news: Final[asyncio.Queue[Piece | Result | BaseException]] = asyncio.Queue()
        self.is_over = False

    def tell(self, news: Piece | Result | BaseException) -> None:
        """Only the first end counts."""
        if not self.is_over:
            self.is_over = not isinstance(news, Piece)
            self.news.put_nowait(news)


class Piece(msgspec.Struct, frozen=True):
    """A partial output. `go_on` answers the request that brought it, and lets the next one come."""

    value: Any
    go_on: Callable[[], None]


class Result(msgspec.Struct, frozen=True):
    """What the program says of a job at its end."""

    output: Any = None
    error: Any = None


class JobApi:
    """The endpoints, and what they know."""

    def __init__(self) -> None:
        self._takers: Final[deque[Poll]] = deque()
        self._stoppers: Final[deque[Poll]] = deque()
        self._waiting: Final[deque[Job]] = deque()
        self._running: Final[dict[str, Job]] = {}
        self._stopped: Final[set[str]] = set()
        self._leaving = False
        self._over: BaseException | None = None
        # Done when it polls for the first time, or has ended before.
        self.ready: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()

    @property
    def busy(self) -> bool:
        """Whether a job waits for the program, or for its result."""
        return bool(self._running or self._waiting)

    def offer(self, job: Job) -> None:
        """Give a job to the program when it polls next."""
        if self._over is not None:
            job.tell(self._over)
        elif self._takers:
            self._hand_out(job, self._takers.popleft())
        else:
            self._waiting.append(job)

    def withdraw(self, job: Job) -> None:
        """Nobody waits for it any more: it is not handed out, or the program is told to stop it."""
        if job in self._waiting:
            self._waiting.remove(job)
        elif self._running.pop(job.id, None) is not None:
            self._stopped.add(job.id)
            self._stop()

    def leave(self) -> None:
        """Keep no poll waiting from now on: the worker loop ends once those that it has made are answered."""
        self._leaving = True
        while self._takers:
            self._takes(self._takers.popleft())
        while self._stoppers:
            self._asks_stops(self._stoppers.popleft())

    def close(self, why: BaseException) -> None:
        """The program has gone: nothing that it has not answered will be."""
        self._over = why
        if not self.ready.done():
            self.ready.set_exception(why)
        for job in (*self._running.values(), *self._waiting):
            job.tell(why)
        self._running.clear()
        self._waiting.clear()

    def begin(self, asked: Asked, exchange: Exchange) -> Sink:
        """Take a request. See `http.Begin`."""
        match asked.method, asked.path.strip("/").split("/"):
            case "GET", ["job-take" | "job-take-batch" as what, _]:
                return Poll(exchange, self._takes, self._takers, wants_list=what != "job-take")
            case "GET", ["job-stop", _]:
                return Poll(exchange, self._asks_stops, self._stoppers)
            case "POST", ["job-done", _, job_id]:
                return Post(exchange, lambda value: self._done(job_id, value, exchange))
            case "POST", ["job-stream", _, job_id]:
                return Post(exchange, lambda value: self._piece(job_id, value, exchange))
            case "GET", ["ping", _]:
                return Poll(exchange, lambda poll: answer(poll.exchange, {}), deque())
        return Post(exchange, lambda _: answer(exchange, {"error": f"nothing at {asked.path}"}, status=404))

    def _takes(self, poll: Poll) -> None:
        if not self.ready.done():
            self.ready.set_result(None)
        if self._waiting:
            self._hand_out(self._waiting.popleft(), poll)
        elif self._leaving:  # what the worker loop takes for "none just now"
            answer(poll.exchange, {}, status=400)
        else:
            self._takers.append(poll)

    def _hand_out(self, job: Job, poll: Poll) -> None:
        self._running[job.id] = job
        body = b"[" + job.document + b"]" if poll.wants_list else job.document
        poll.exchange.reply(200, body, JSON_LINE)

    def _asks_stops(self, poll: Poll) -> None:
        if self._leaving:  # it waits a second before it looks at itself again where it is told of none
            answer(poll.exchange, {"jobsToStop": [NOBODY]})
            return
        self._stoppers.append(poll)
        self._stop()

    def _stop(self) -> None:
        if self._stopped and self._stoppers:
            ids = sorted(self._stopped)
            self._stopped.clear()
            answer(self._stoppers.popleft().exchange, {"jobsToStop": ids})

    def _done(self, job_id: str, value: Any, exchange: Exchange) -> None:
        job = self._running.pop(job_id, None)
        if job is not None:
            said = value if isinstance(value, dict) else {}
            job.tell(Result(said.get("output"), said.get("error")))
        answer(exchange, {})  # also where nobody waits for it any more

    def _piece(self, job_id: str, value: Any, exchange: Exchange) -> None:
        job = self._running.get(job_id)
        if job is None or not isinstance(value, dict):
            answer(exchange, {})
        else:
            job.tell(Piece(value.get("output"), lambda: answer(exchange, {})))


class Poll:
    """A request that is answered once there is something to say."""

    def __init__(
        self,
        exchange: Exchange,
        waits: Callable[[Poll], None],
        among: deque[Poll],
        *,
        wants_list: bool = False,
    ) -> None:
        self.exchange: Final = exchange
        self.wants_list: Final = wants_list
        self._waits: Final = waits
        self._among: Final = among

    def feed(self, piece: bytes) -> None:
        """It says nothing."""

    def end(self, trailers: Mapping[str, str]) -> None:
        self._waits(self)

    def broken(self) -> None:
        if self in self._among:
            self._among.remove(self)


class Post:
    """A request with JSON. What is none, or too large, is refused, and its job goes on."""

    def __init__(self, exchange: Exchange, done: Callable[[Any], None]) -> None:
        self._exchange: Final = exchange
        self._done: Final = done
        self._body = bytearray()
        self._is_too_large = False

    def feed(self, piece: bytes) -> None:
        if len(self._body) + len(piece) > BODY_BYTES_MAX:
            self._is_too_large = True
            self._body.clear()
        elif not self._is_too_large:
            self._body += piece

    def end(self, trailers: Mapping[str, str]) -> None:
        if self._is_too_large:
            why = f"a result may have {BODY_BYTES_MAX} bytes"
            self._done({"error": why})
            return
        try:
            value = msgspec.json.decode(self._body) if self._body else None
        except (msgspec.DecodeError, RecursionError) as error:
            answer(self._exchange, {"error": f"this is no JSON: {error}"}, status=400)
            return
        self._done(value)

    def broken(self) -> None:
        """It is sent again by who sent it."""


def answer(exchange: Exchange, value: object, *, status: int = 200) -> None:
    """Reply with JSON."""
    exchange.reply(status, msgspec.json.encode(value), JSON_LINE)
