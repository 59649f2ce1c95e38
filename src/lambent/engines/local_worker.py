"""The local engine's worker: a process, its stream and what it prints, as one thing."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from typing import Final

from lambent.core.errors import LoadFailed
from lambent.engines.base import Exit, Hears
from lambent.engines.endings import EXITED, LATE, died_loading, hung_loading, last_lines
from lambent.engines.logs import LogPipe
from lambent.engines.owed import owed
from lambent.engines.processes import Process
from lambent.engines.stream import Answered, WorkerStream
from lambent.engines.template import Template
from lambent.wire.frames import Batch, Call, Cancel, Stop, ToCall, Wake
from lambent.wire.process import CANCEL_SIGNAL, ChildRole, RevisionPlan

# From the process's end until its last answer must have been read, where a descendant holds its stream open.
LAST_WORDS_S: Final = 0.05
# From the end of the stream until the process must have ended by itself.
LEAVE_TIMEOUT_S: Final = 1.0
# When a worker that runs code is told again to look at what has arrived: the first time may come before it.
NUDGES_S: Final = (0.001, 0.02, 0.2, 1.0)


class LocalWorker:
    """A worker process on this machine. See `engines.base.Worker`."""

    def __init__(
        self, worker_id: str, plan: RevisionPlan, process: Process, stream: WorkerStream, log: LogPipe
    ) -> None:
        self.worker_id = worker_id
        self.plan: Final = plan
        self.pid = process.pid
        self.parts_ms: dict[str, float] = {}
        self._process: Final = process
        self._stream: Final = stream
        self._log: Final = log
        self._loop: Final = asyncio.get_running_loop()
        process.exit.add_done_callback(self._exited)
        stream.watch(on_end=self._stream_ended, on_abuse=self.kill)

    def wake(self) -> None:
        """Tell a parked worker that it is needed; `hello` follows."""
        self._stream.tell(Wake())

    async def hello(self) -> dict[str, float]:
        """Wait until it takes calls; the milliseconds of what it did for that.

        It is ended if this is cancelled or fails. Raises `LoadFailed`; `WorkerGone` where it may have been
        ended for the sake of its template; `StaysStopped`.
        """
        try:
            return (await owed(self._process, self._stream.hello)).parts_ms
        except BaseException as error:
            if isinstance(error, LoadFailed) and error.kind in (EXITED, LATE) and not error.trace:
                error.trace = last_lines(self.printed())  # it told its log alone why
            self.kill()
            raise

    def hung(self, timeout_s: float) -> LoadFailed:
        """That no `hello` came in time, as the fault of the code that it loaded."""
        return hung_loading("a worker", timeout_s, self.printed())

    def on_exit(self, tell: Callable[[], None]) -> None:
        """Call `tell` once it has been reaped."""
        self._process.exit.add_done_callback(lambda _: tell())

    def death(self, how: Exit) -> LoadFailed:
        """Its end before `hello`, as the fault of the code that it loaded."""
        return died_loading("a worker", how, self.printed())

    def call(self, call: Call | Batch, body: bytes, hears: Hears | None = None) -> asyncio.Future[Answered]:
        self._log.begin()
        return self._stream.ask(call, body, hears)

    def tell(self, header: ToCall | Stop, body: bytes = b"") -> None:
        self._stream.tell(header, body)
        if isinstance(header, Cancel):
            for after_s in NUDGES_S:
                self._loop.call_later(after_s, self._nudge, header.call_id)

    def printed(self) -> bytes:
        return self._log.tail()

    def kill(self) -> None:
        self._process.kill()

    async def exited(self) -> Exit:
        return await self._process.ended()

    @property
    def broken_off(self) -> bool:
        """Whether it ended as a process does that reads where a mapped file ends no more."""
        return self._process.exit.done() and self._process.exit.result().code == -signal.SIGBUS

    def _nudge(self, call_id: int) -> None:
        """A worker reads between calls; a signal makes it look while user code runs."""
        if not self._stream.answered(call_id):
            self._process.interrupt(CANCEL_SIGNAL)

    def _stream_ended(self) -> None:
        if self._process.exit.done():
            self._stream.fail(self._process.exit.result())
        else:
            self._loop.call_later(LEAVE_TIMEOUT_S, self._process.kill)

    def _exited(self, exit_: asyncio.Future[Exit]) -> None:
        self._log.close()
        if self._stream.ended:
            self._stream.fail(exit_.result())
        else:
            # And then two turns of the loop: a loop that was held up runs its timers before it reads.
            call_soon = self._loop.call_soon
            self._loop.call_later(LAST_WORDS_S, call_soon, call_soon, self._stream.fail, exit_.result())


async def fork_worker(
    parent: Template,
    worker_id: str,
    role: ChildRole,
    plan: RevisionPlan,
    *,
    body_bytes_max: int,
    on_chunk: Callable[[bytes], None],
) -> tuple[LocalWorker, float]:
    """A fork of a template with a stream and a log of its own, and the milliseconds of the fork.

    `on_chunk` gets what it prints. Raises `TemplateGone`, `PlatformFault` as `Template.fork` does.
    """
    with contextlib.ExitStack() as undo:
        ours, theirs = socket.socketpair()
        with theirs:
            stream = await WorkerStream.over(ours, body_bytes_max=body_bytes_max)
            undo.callback(stream.close)
            log = LogPipe(on_chunk=on_chunk)
            undo.callback(log.close)
            born = await parent.fork(worker_id, role, plan, (theirs.fileno(), log.writing_fd))
            undo.callback(born.process.kill)
        log.hand_over()
        worker = LocalWorker(worker_id, plan, born.process, stream, log)
        undo.pop_all()
    return worker, born.fork_ms
