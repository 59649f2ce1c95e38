"""The runtime of programs that serve HTTP on `$PORT`: whatever they are, they sleep and wake.

The worker starts the program, sees that it listens and passes requests to it. To the server it is a worker
like any other, so leases, deadlines, limits, logs and the bill are what they are for code of ours.
"""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import Mapping
from typing import Final

from lambent.core.invocation import Asked
from lambent.core.spec import MIB
from lambent.runtimes.base import AsyncLine, Loading, Reply, Request
from lambent.runtimes.command import check_command, command_environment, started
from lambent.runtimes.context import asked_without_http
from lambent.runtimes.faults import Fault, ProgramEnded, as_text, function_error
from lambent.runtimes.outputs import say
from lambent.runtimes.program import Program, awaited
from lambent.runtimes.proxying.exchange import CutOff, pass_through
from lambent.runtimes.proxying.ports import Port
from lambent.runtimes.proxying.readiness import listening, seen_ready
from lambent.runtimes.proxying.tree import Tree, outgrown
from lambent.runtimes.proxying.upstream import Broken, Upstream
from lambent.wire.process import RevisionPlan

HOST: Final = "127.0.0.1"
# From the end of a connection until it is known whether the program has ended; from the program's end until
# all that it had sent must have been read.
LAST_WORDS_S: Final = 0.2
EXITED: Final = "Runtime.ExitError"
OUT_OF_MEMORY: Final = "Runtime.OutOfMemory"


class HttpProcess:
    """A deployment that is a program of its own."""

    def __init__(self, plan: RevisionPlan, loading: Loading) -> None:
        self._plan: Final = plan
        self._loading: Final = loading
        self._upstream: Upstream
        self._port: Port | None = None
        self._program: Program | None = None
        self._tree: Tree | None = None
        self._ended: Final = asyncio.Event()
        self._how: ProgramEnded | None = None
        self._serves = False
        self._running = 0
        self._burying: asyncio.Task[None] | None = None
        self._guarding: asyncio.Task[None] | None = None

    @property
    def is_concurrent(self) -> bool:
        """It is: how many requests run at once is its program's business."""
        return True

    async def start(self) -> None:
        """Start the program and wait until it serves. Raises `Fault` that says why it does not."""
        self._port = port = Port()
        environ = environment(self._plan, port.number)
        with self._loading.part("spawn"):
            self._program = started(self._plan, environ)
        self._program.watch(self._end)
        self._tree = Tree(self._program.pid, self._loading.clock)
        late = functools.partial(self._late, port)
        async with awaited(self._plan.ready_timeout_s, stop=self.stop, late=late):
            await self._ready(port, self._tree)
        self._serves = True
        self._guarding = asyncio.get_running_loop().create_task(self._guard(self._program, self._tree))

    async def stop(self) -> None:
        """See the program off."""
        for task in (self._burying, self._guarding):
            if task is not None:
                task.cancel()
        if self._serves:
            self._upstream.close()
        self._serves = False
        if self._program is not None:
            await self._program.leave()
        if self._port is not None:
            self._port.close()

    async def converse(self, request: Request, line: AsyncLine, /) -> Reply:
        """Pass one HTTP request through, or one WebSocket. A client that leaves ends its connection."""
        asked = request.call.asked or asked_without_http(request.call)
        self._running += 1
        try:
            return await self._pass(asked, request, line)
        except Broken as error:
            await self._raise_if_ended()
            raise Fault("Lambent.NoResponse", str(error), status=502) from error
        except CutOff:
            await self._raise_if_ended()  # or who asks next would hear of this end
            raise
        except OSError as error:
            await self._raise_if_ended()
            message = f"the program takes no connection: {error}"
            raise Fault("Lambent.NoResponse", message, status=502) from error
        finally:
            self._running -= 1

    def cpu_ns(self) -> int:
        """See `base.Accounting`."""
        return self._tree.cpu_ns() if self._tree is not None else 0

    def rss_bytes_max(self) -> int:
        """See `base.Accounting`."""
        return self._tree.rss_bytes_max() if self._tree is not None else 0

    async def _ready(self, port: Port, tree: Tree) -> None:
        def check() -> None:
            if self._how is not None:
                raise Fault(EXITED, f"{self._named()} {_how(self._how)} before it listened{self._hint()}")

        with self._loading.part("listen"):
            self._upstream = await listening(port.number, tree, self._loading.clock, check=check)
        if self._plan.ready_path:
            with self._loading.part("ready"):
                await seen_ready(self._upstream, self._plan.ready_path, check=check)

    async def _pass(self, asked: Asked, request: Request, line: AsyncLine) -> Reply:
        if asked.is_socket:
            from lambent.runtimes.proxying import sockets  # few speak WebSocket, and the library takes time

            return await sockets.pass_through(asked, request, line, (self._upstream.host, self._port_number))
        return await pass_through(asked, request, line, self._upstream)

    @property
    def _port_number(self) -> int:
        return self._port.number if self._port is not None else 0

    def _late(self, port: Port) -> str:
        waited = f"within {self._plan.ready_timeout_s:g} s (ready_timeout_s)"
        if self._plan.ready_path:
            return f"{self._named()} did not answer 2xx on {self._plan.ready_path} {waited}"
        return f"{self._named()} did not listen on $PORT, {port.number}, {waited}{self._hint()}"

    def _named(self) -> str:
        return f"the command {self._plan.command!r}"

    def _hint(self) -> str:
        if "PORT" in self._plan.command:
            return ""
        return "; it does not say $PORT, which a shell replaces inside double quotes: use single ones"

    def _end(self, how: ProgramEnded) -> None:
        self._how = how
        self._ended.set()
        if self._serves:
            self._burying = asyncio.get_running_loop().create_task(self._bury(how))

    async def _bury(self, how: ProgramEnded) -> None:
        """What it has not answered ends with it, once all that it sent was read; then the worker ends."""
        if self._running:  # else who asks meanwhile would be told of an end that was none of theirs
            await asyncio.sleep(LAST_WORDS_S)
        self._upstream.break_off("the program has ended")
        if not self._running:
            say(as_text(function_error(how)))
        signal.raise_signal(signal.SIGTERM)

    async def _guard(self, program: Program, tree: Tree) -> None:
        """What is granted to it is granted to all that it starts, together."""
        own_bytes = await outgrown(tree, self._plan.memory_bytes)
        say(
            f"[ERROR] {OUT_OF_MEMORY}: the program's processes have {own_bytes / MIB:.0f} MiB together, and "
            f"memory={self._plan.memory_bytes / MIB:.0f}MiB: all of them are ended\n"
        )
        program.kill()

    async def _raise_if_ended(self) -> None:
        """What breaks as the program ends is told as that."""
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._ended.wait()
        except TimeoutError:
            return
        if self._how is not None:
            raise self._how from None


def environment(plan: RevisionPlan, port: int) -> Mapping[str, str]:
    """The program's variables: those of Cloud Run and Knative, Vertex AI and SageMaker; the user's own win.

    Knative's runtime contract; Vertex AI's "Custom container requirements"; SageMaker's "Use your own
    inference code".
    """
    name, number = plan.deployment, str(port)
    return {
        **command_environment(plan),
        "K_SERVICE": name,
        "K_CONFIGURATION": name,
        "K_REVISION": f"{name}-{plan.number:05d}",
        "AIP_HEALTH_ROUTE": plan.ready_path or "/health",
        "AIP_PREDICT_ROUTE": "/predict",
        "AIP_STORAGE_URI": plan.code_dir,
        **plan.env,
        "HOST": HOST,
        "PORT": number,
        "AIP_HTTP_PORT": number,
        "SAGEMAKER_BIND_TO_PORT": number,
    }


def _how(ended: ProgramEnded) -> str:
    if ended.status >= 0:
        return f"ended with exit status {ended.status}"
    known = -ended.status in {*signal.Signals}
    return f"was ended by {signal.Signals(-ended.status).name if known else f'signal {-ended.status}'}"


def load(plan: RevisionPlan, loading: Loading) -> HttpProcess:
    """Each worker starts a program of its own. Raises `Fault` where there is nothing to start."""
    check_command(plan)
    return HttpProcess(plan, loading)
