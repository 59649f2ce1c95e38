"""The runtime of RunPod's workers: a program that calls `runpod.serverless.start` asks us for its jobs.

The worker serves the endpoints that the program polls, and the program is its child. To the server it is a
worker like any other.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from lambent.core.invocation import JSON
from lambent.runtimes.base import STREAMED, AsyncLine, Body, Loading, Reply, Request
from lambent.runtimes.command import check_command, command_environment, started
from lambent.runtimes.faults import Fault
from lambent.runtimes.lambda_api.polled import Polled
from lambent.runtimes.program import awaited
from lambent.runtimes.runpod.endpoints import Job, JobApi, Piece, Result
from lambent.wire.frames import Form
from lambent.wire.process import RevisionPlan


class RunPodFunction:
    """A deployment that is a program which asks for jobs."""

    def __init__(self, plan: RevisionPlan, loading: Loading) -> None:
        self._plan: Final = plan
        self._loading: Final = loading
        self._polled: Final = Polled(concurrency=plan.concurrency)
        self._api: JobApi

    @property
    def is_concurrent(self) -> bool:
        """It is, if only to hear its program."""
        return True

    async def start(self) -> None:
        """Start the program and wait until it asks for a job. Raises `Fault`, `ProgramEnded`."""
        self._api = JobApi()
        address = await self._polled.listen(self._api, _refusal)
        with self._loading.part("spawn"):
            self._polled.watch(started(self._plan, environment(self._plan, f"http://{address}")))
        async with awaited(self._plan.ready_timeout_s, stop=self.stop, late=self._late):
            with self._loading.part("init"):
                await self._api.ready

    async def stop(self) -> None:
        """See the program off."""
        await self._polled.leave(self._api.leave)
        self._polled.close()

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
        return self._polled.cpu_ns()

    def rss_bytes_max(self) -> int:
        """See `base.Accounting`."""
        return self._polled.rss_bytes_max()

    def _late(self) -> str:
        waited = f"within {self._plan.ready_timeout_s:g} s (ready_timeout_s)"
        return f"the command {self._plan.command!r}: it did not ask for a job {waited}"


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
    check_command(plan)
    return RunPodFunction(plan, loading)
