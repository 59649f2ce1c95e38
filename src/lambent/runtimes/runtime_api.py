"""The runtime of programs that poll AWS Lambda's Runtime API: a `bootstrap`, or AWS's own client for Python.

The worker serves the API to one program, its child. To the server it is a worker like any other, so leases,
deadlines, limits, logs and the bill are what they are for code of ours; it is the side that is not trusted,
and all that the program starts dies with it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from lambent.core import spec
from lambent.core.invocation import JSON, Head
from lambent.core.spec import BOOTSTRAP
from lambent.core.tracing import xray_from
from lambent.runtimes.base import STREAMED, AsyncLine, Loading, Reply, Request
from lambent.runtimes.faults import Fault
from lambent.runtimes.lambda_api.answers import said
from lambent.runtimes.lambda_api.endpoints import InvocationApi
from lambent.runtimes.lambda_api.polled import Polled
from lambent.runtimes.lambda_api.telemetry_pipe import TelemetryPipe
from lambent.runtimes.lambda_api.work import Begun, Ended, Event, Work
from lambent.runtimes.program import Program, awaited
from lambent.wire.frames import Call, Form
from lambent.wire.process import RevisionPlan

INIT_TYPE: Final = "AWS_LAMBDA_INITIALIZATION_TYPE"
SNAP_START: Final = "snap-start"
CLIENT: Final = "awslambdaric"
TELEMETRY_FD: Final = "_LAMBDA_TELEMETRY_LOG_FD"


class ProgramFunction:
    """A function that runs in a program of its own."""

    def __init__(self, plan: RevisionPlan, command: Sequence[str], loading: Loading) -> None:
        self._plan: Final = plan
        self._command: Final = command
        self._loading: Final = loading
        self._polled: Final = Polled(concurrency=plan.concurrency)
        self._api: InvocationApi
        self._telemetry: TelemetryPipe | None = None

    @property
    def is_concurrent(self) -> bool:
        """It is, if only to hear its program."""
        return True

    async def start(self) -> None:
        """Start the program and wait until it polls. Raises `Fault`, `ProgramEnded`."""
        self._api = InvocationApi(
            concurrency=self._plan.concurrency,
            restores=os.environ.get(INIT_TYPE) == SNAP_START,
            settle=self._hear,
        )
        address = await self._polled.listen(self._api, _refusal)
        with self._loading.part("spawn"):
            self._polled.watch(self._started(environment(self._plan, address)), self._ended)
        async with awaited(self._plan.ready_timeout_s, stop=self.stop, late=self._late):
            with self._loading.part("init"):
                await self._api.ready

    async def stop(self) -> None:
        """See the program off."""
        self._polled.listen_no_more()
        await self._polled.leave()
        if self._telemetry is not None:
            self._telemetry.end()
            self._telemetry.close()
        self._polled.close()

    async def converse(self, request: Request, line: AsyncLine, /) -> Reply:
        """Hand one invocation to the program. Where it is cancelled, the program runs it to its end."""
        work = Work(event_of(request, self._plan, self._loading.clock.unix_ms()))
        self._api.offer(work)
        forsaken = streams = False
        end: Ended | None = None
        while end is None:
            try:
                news = await work.next()
                if isinstance(news, Ended):
                    end = news
                    continue
                streams = True
                await _pass_on(news, work, line, forsaken=forsaken)
            except asyncio.CancelledError:
                forsaken = True
                if self._api.withdraw(work):
                    raise
        if forsaken:
            raise asyncio.CancelledError
        if end.error is not None:
            raise end.error
        return STREAMED if streams else Reply(end.body, end.content_type)

    def cpu_ns(self) -> int:
        """See `base.Accounting`."""
        return self._polled.cpu_ns()

    def rss_bytes_max(self) -> int:
        """See `base.Accounting`."""
        return self._polled.rss_bytes_max()

    def _started(self, environ: Mapping[str, str]) -> Program:
        self._telemetry = pipe = TelemetryPipe()
        try:
            told = {**environ, TELEMETRY_FD: str(pipe.writing_fd)}
            return Program(self._command, told, pass_fds=(pipe.writing_fd,))
        finally:
            pipe.hand_over()

    def _hear(self) -> None:
        if self._telemetry is not None:
            self._telemetry.hear()

    def _ended(self) -> None:
        if self._telemetry is not None:
            self._telemetry.end()

    def _late(self) -> str:
        waited = f"within {self._plan.ready_timeout_s:g} s (ready_timeout_s)"
        return f"{self._command[0]} did not ask for an invocation {waited}"


async def _pass_on(news: Begun | bytes, work: Work, line: AsyncLine, *, forsaken: bool) -> None:
    if isinstance(news, Begun) and not forsaken:
        await line.begin(Head(200, (("content-type", news.content_type),)))
    elif isinstance(news, bytes):
        try:
            if not forsaken:
                await line.write(Form.BYTES, news)
        finally:
            work.took(news)


def event_of(request: Request, plan: RevisionPlan, now_unix_ms: int) -> Event:
    """An invocation as the program is given it."""
    call = request.call
    lines = {
        "Lambda-Runtime-Aws-Request-Id": call.invocation_id,
        "Lambda-Runtime-Deadline-Ms": str(int(now_unix_ms + call.remaining_ms)),
        "Lambda-Runtime-Invoked-Function-Arn": plan.function_arn,
        "Lambda-Runtime-Trace-Id": xray_from(call.invocation_id, call.trace),
        # Of a function that calls this one it may be any text.
        "Content-Type": " ".join(call.content_type.split()) or JSON,
    }
    if call.client_context:
        lines["Lambda-Runtime-Client-Context"] = _in_ascii(call)
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    is_json = lines["Content-Type"].partition(";")[0].strip().lower() == JSON
    body = request.body or (b"{}" if is_json else b"")  # as AWS gives a handler an event in any case
    return Event(call.invocation_id, head.encode("latin-1", "replace"), body)


def _in_ascii(call: Call) -> str:
    """The client context on one line. Raises `Fault` where it is no JSON."""
    try:
        return json.dumps(json.loads(call.client_context))
    except (ValueError, RecursionError) as error:
        message = f"Unable to parse Client Context JSON: {error}"
        raise Fault("Runtime.LambdaContextUnmarshalError", message) from error


def environment(plan: RevisionPlan, address: str) -> Mapping[str, str]:
    """The program's variables: this process's, which has entered the plan, and what tells it of the API."""
    environ = {
        "LAMBDA_RUNTIME_DIR": plan.code_dir,
        "PYTHONDONTWRITEBYTECODE": "1",  # an artifact is what its digest says
        "TZ": ":UTC",
        **os.environ,
        "AWS_LAMBDA_RUNTIME_API": address,
        "_HANDLER": handler_of(plan),
    }
    if plan.program is spec.Program.PROVIDED and "AWS_EXECUTION_ENV" not in plan.env:
        environ.pop("AWS_EXECUTION_ENV", None)  # as on AWS: it names a runtime of AWS's
    if plan.concurrency > 1:
        environ["AWS_LAMBDA_MAX_CONCURRENCY"] = str(plan.concurrency)
    return environ


def handler_of(plan: RevisionPlan) -> str:
    """The handler in the words of who looks for it: AWS's client writes `module.function`."""
    return plan.entrypoint if plan.program is spec.Program.PROVIDED else plan.entrypoint.replace(":", ".")


def _refusal(status: int, why: str) -> bytes:
    return said("InvalidRequest" if status < 500 else "TooManyConnections", why)


def load(plan: RevisionPlan, loading: Loading) -> ProgramFunction:
    """See that there is a program; each worker starts its own. Raises `Fault` as Lambda does."""
    if plan.program is spec.Program.PROVIDED:
        bootstrap = Path(plan.code_dir, BOOTSTRAP)
        if not os.access(bootstrap, os.X_OK) or not bootstrap.is_file():
            message = f"Couldn't find valid bootstrap(s): [{bootstrap}]"
            raise Fault("Runtime.InvalidEntrypoint", message)
        return ProgramFunction(plan, [str(bootstrap)], loading)
    if importlib.util.find_spec(CLIENT) is None:
        message = (
            f"runtime={CLIENT} needs the package {CLIENT}: deploy it along with the code "
            f"(pip install --target), or install it where lambent runs"
        )
        raise Fault("Runtime.ImportModuleError", message)
    return ProgramFunction(plan, [sys.executable, "-m", CLIENT, handler_of(plan)], loading)
