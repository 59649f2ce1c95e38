"""The runtime of RunPod's workers: a program that calls `runpod.serverless.start` asks us for its jobs.

The worker serves the endpoints that the program polls, and the program is its child. To the server it is a
worker like any other.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from lambent.core.invocation import JSON
from lambent.runtimes.base import STREAMED, AsyncLine, Body, Line, Loading, Reply, Request
from lambent.runtimes.command import LEAVE_S, SHELL, command_environment, for_shell
from lambent.runtimes.faults import Fault, ProgramEnded, as_text, function_error
from lambent.runtimes.lambda_api.http import Connection, Connections
from lambent.runtimes.outputs import say
from lambent.runtimes.program import Program, Reach
from lambent.runtimes.runpod.endpoints import Job, JobApi, Piece, Result
from lambent.wire.frames import Form
from lambent.wire.process import RevisionPlan

HOST: Final = "127.0.0.1"
CONNECTIONS_MAX: Final = 32  # beside one for each job that may run at once
LAST_WORDS_S: Final = 0.5  # from the program's end until all that it had sent must have been read


class RunPodFunction:
    """A deployment that is a program which asks for jobs."""

    def __init__(self, plan: RevisionPlan, loading: Loading) -> None:
        self._plan: Final = plan
        self._loading: Final = loading
        self._connections: Final = Connections(plan.concurrency + CONNECTIONS_MAX)
        self._api: JobApi
        self._server: asyncio.Server
        self._program: Program | None = None
        self._burying: asyncio.Task[None] | None = None

    def __call__(self, request: Request, line: Line, /) -> Reply:
        """It is always served on a loop."""
        raise NotImplementedError

    @property
    def is_concurrent(self) -> bool:
        """It is, if only to hear its program."""
        return True

    async def start(self) -> None:
        """Start the program and wait until it asks for a job. Raises `Fault`, `ProgramEnded`."""
        self._api = JobApi()
        connect = functools.partial(Connection, self._api.begin, _refusal, self._connections)
        self._server = await asyncio.get_running_loop().create_server(connect, HOST, 0)
        host, port = self._server.sockets[0].getsockname()
        environ = environment(self._plan, f"http://{host}:{port}")
        with self._loading.part("spawn"):
            command = [SHELL, "-c", for_shell(self._plan.command, environ["PATH"])]
            self._program = Program(command, environ, reach=Reach.GROUP, leave_s=LEAVE_S)
        self._program.watch(self._ended)
        try:
            with self._loading.part("init"):
                async with asyncio.timeout(self._plan.ready_timeout_s):
                    await self._api.ready
        except TimeoutError:
            await self.stop()
            why = f"it did not ask for a job within {self._plan.ready_timeout_s:g} s (ready_timeout_s)"
            raise Fault("Sandbox.Timedout", f"the command {self._plan.command!r}: {why}") from None
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """See the program off."""
        if self._program is not None:
            self._program.watch(lambda _: None)
            self._api.leave()
            await self._program.leave()
        self._server.close()
        if self._burying is not None:
            self._burying.cancel()
        self._api.close(ProgramEnded(-signal.SIGTERM))
        self._connections.close()

    async def converse(self, request: Request, line: AsyncLine, /) -> Reply:
        """Hand one job to the program. Where it is cancelled, the program is told to stop it."""
        call = request.call
        job = Job(call.invocation_id, document_of(call.invocation_id, request.body))
        self._api.offer(job)
        streams = False
        try:
            while True:
                news = await job.news.get()
                if isinstance(news, BaseException):
                    raise news
                if isinstance(news, Result):
                    break
                streams = True
                await _pass_on(news, line)
        except asyncio.CancelledError:
            self._api.withdraw(job)
            raise
        if news.error is not None:
            raise fault_of(news.error)
        return STREAMED if streams else Reply(msgspec.json.encode(news.output), JSON)

    def cpu_ns(self) -> int:
        """See `base.Accounting`."""
        return self._program.cpu_ns() if self._program is not None else 0

    def rss_bytes_max(self) -> int:
        """See `base.Accounting`."""
        return self._program.rss_bytes_max() if self._program is not None else 0

    def _ended(self, how: ProgramEnded) -> None:
        self._burying = asyncio.get_running_loop().create_task(self._bury(how))

    async def _bury(self, how: ProgramEnded) -> None:
        """End what it has not answered, once all that it sent was read; the worker then ends as well."""
        await self._connections.ended(LAST_WORDS_S)
        idle = self._api.ready.done() and not self._api.busy
        self._api.close(how)
        if idle:
            say(as_text(function_error(how)))
            signal.raise_signal(signal.SIGTERM)


async def _pass_on(piece: Piece, line: AsyncLine) -> None:
    try:
        await line.write(Form.JSON, msgspec.json.encode(piece.value))
    finally:
        piece.go_on()


def document_of(job_id: str, body: Body) -> bytes:
    """The job: what was sent is its `input`. Raises `Fault` for what is no JSON."""
    try:
        asked = msgspec.json.decode(body) if body else {}
    except (msgspec.DecodeError, RecursionError) as error:
        raise Fault("Lambent.BadInput", f"the input is no JSON: {error}", status=400) from error
    return msgspec.json.encode({"id": job_id, "input": asked})


def fault_of(error: Any) -> Fault:
    """An error as the program tells it: JSON of the worker loop, a text, or whatever the handler says."""
    text = error if isinstance(error, str) else json.dumps(error)
    try:
        told = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or "error_message" not in told:
        return Fault("RunPod.JobFailed", text)
    kind = str(told.get("error_type", "")).removeprefix("<class '").removesuffix("'>")
    trace = str(told.get("error_traceback", "")).splitlines(keepends=True)
    return Fault(kind or "RunPod.JobFailed", str(told["error_message"]), trace)


def environment(plan: RevisionPlan, base: str) -> Mapping[str, str]:
    """What tells the program of the endpoints; `$ID` and `$RUNPOD_POD_ID` are for its package to fill in.

    Without RUNPOD_AI_API_KEY it sends no heartbeats, for which it would keep a process of their own.
    """
    return {
        **command_environment(plan),
        "RUNPOD_POD_ID": f"{plan.deployment}-{os.getpid()}",
        "RUNPOD_ENDPOINT_ID": plan.deployment,
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        "RUNPOD_SKIP_GPU_CHECK": "true",
        **plan.env,
        "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=none",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=none",
        "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID",
    }


def _refusal(_: int, why: str) -> bytes:
    return msgspec.json.encode({"error": why})


def load(plan: RevisionPlan, loading: Loading) -> RunPodFunction:
    """Each worker starts a program of its own. Raises `Fault` where there is nothing to start."""
    if not plan.command.strip():
        raise Fault("Runtime.InvalidEntrypoint", "there is no command to start")
    return RunPodFunction(plan, loading)
