"""Sync user code in threads of a worker that runs several calls at once: run, streamed, and told to end.

A thread cannot be stopped, but an exception can be put into it, which is raised before its next step of
Python. A call counts as running until its thread has left it: its slot is not free before.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import os
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from lambent.core.errors import Cancelled
from lambent.core.invocation import Head
from lambent.runtimes import calling
from lambent.runtimes.base import AsyncLine, Body
from lambent.runtimes.calling import Answered, Answering, Caller
from lambent.runtimes.forked import leave_if_forked
from lambent.wire.frames import Call, Form

T = TypeVar("T")


class Threads:
    """So many threads, each for one call at a time."""

    def __init__(self, count: int) -> None:
        self._pool: Final = ThreadPoolExecutor(count, thread_name_prefix="call")

    async def run(self, work: Callable[[ThreadLine], object], line: AsyncLine) -> object:
        """Run `work` in a thread, as long as it takes. Where this is cancelled, `Cancelled` is raised in it.

        Raises what it raises.
        """
        loop = asyncio.get_running_loop()
        aside = ThreadLine(line, loop)
        context = contextvars.copy_context()
        running = loop.run_in_executor(self._pool, context.run, aside.run, work)
        while not running.done():
            try:
                await asyncio.shield(running)
            except asyncio.CancelledError:
                aside.cancel()
        ended = running.result()
        if isinstance(ended, Raised):
            raise ended.error
        return ended

    def stop(self) -> None:
        """What still runs is not waited for: nobody waits for its answer."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Raised:
    """What user code raised. As a result, since a future cannot hold every exception."""

    def __init__(self, error: BaseException) -> None:
        self.error: Final = error


class ThreadLine:
    """The line of a call, as its thread has it. See `runtimes.base.Line`."""

    def __init__(self, line: AsyncLine, loop: asyncio.AbstractEventLoop) -> None:
        self._line: Final = line
        self._loop: Final = loop
        self._pid: Final = os.getpid()
        self._turn: Final = threading.Lock()  # of changing the next three
        self._thread_id: int | None = None  # while user code may be interrupted
        self._waits: Future[Any] | None = None
        self._cancelled = False

    def run(self, work: Callable[[ThreadLine], object]) -> object:
        """In the thread: run `work`, and return what it returns or `Raised`."""
        try:
            try:
                with self._turn:
                    if self._cancelled:
                        raise Cancelled
                    self._thread_id = threading.get_ident()
                if (caller := calling.in_use()) is not None:
                    calling.use(ThreadCaller(caller, self))
                result = work(self)
            finally:
                self._leave()
        except BaseException as error:  # noqa: BLE001 - around user code, which may raise anything
            leave_if_forked(self._pid, error)
            return Raised(error)
        leave_if_forked(self._pid)
        return result

    def cancel(self) -> None:
        """In the loop: raise `Cancelled` in the thread, at once where it waits for a reader."""
        with self._turn:
            if self._cancelled:
                return
            self._cancelled = True
            if self._waits is not None and self._waits.cancel():
                return
            if self._thread_id is not None:
                _raise_in(self._thread_id, Cancelled)

    def notify(self, news: bytes) -> None:
        """Nothing is told of calls that run side by side."""

    def begin(self, head: Head | None = None) -> None:
        self.wait(self._line.begin(head))

    def write(self, form: Form, piece: Body) -> None:
        self.wait(self._line.write(form, piece))

    def wait(self, step: Coroutine[Any, Any, T]) -> T:
        """In the thread: what `step` returns in the loop. Raises `Cancelled` where the call is.

        A fork of this thread has no loop, and no call.
        """
        if os.getpid() != self._pid:
            step.close()
            raise Cancelled
        with self._turn:
            if self._cancelled:
                step.close()
                raise Cancelled
            waits = self._waits = asyncio.run_coroutine_threadsafe(step, self._loop)
        try:
            result: T = waits.result()
        except CancelledError:
            raise Cancelled from None
        finally:
            with self._turn:
                self._waits = None
        return result

    def _leave(self) -> None:
        """The thread goes on to another call: what was raised in it and has not arrived is taken back."""
        if os.getpid() != self._pid:
            return  # the loop, which is not in a fork, may hold its turn for ever
        with self._turn:
            thread_id, self._thread_id = self._thread_id, None
            if thread_id is not None and self._cancelled:
                _raise_in(thread_id, None)


class ThreadCaller:
    """How a call asks for others from its thread. See `runtimes.calling.Caller`."""

    def __init__(self, caller: Caller, line: ThreadLine) -> None:
        self._caller: Final = caller
        self._line: Final = line

    @property
    def call(self) -> Call:
        return self._caller.call

    def ask(
        self, deployment: str, body: bytes, content_type: str, *, alias: str, timeout_s: float
    ) -> ThreadAnswer:
        answering = self._caller.ask(deployment, body, content_type, alias=alias, timeout_s=timeout_s)
        return ThreadAnswer(answering, self._line)


class ThreadAnswer:
    """One whose waiting ends where its call is cancelled. See `runtimes.calling.Answering`."""

    def __init__(self, answering: Answering, line: ThreadLine) -> None:
        self._answering: Final = answering
        self._line: Final = line

    def wait(self) -> Answered:
        return self._line.wait(_of(self._answering))

    def __await__(self) -> Generator[Any, Any, Answered]:
        return self._answering.__await__()


async def _of(answering: Answering) -> Answered:
    return await answering


def _raise_in(thread_id: int, error: type[BaseException] | None) -> None:
    what = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), what)
