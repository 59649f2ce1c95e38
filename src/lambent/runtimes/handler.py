"""The handler runtime: an AWS Lambda function, `handler(event, context)`, sync or async. It may yield."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from lambent.clock import Clock
from lambent.core.tracing import xray_from
from lambent.runtimes import logs
from lambent.runtimes.awaiting import Awaiter
from lambent.runtimes.base import AsyncLine, Line, Loading, Reply, Request
from lambent.runtimes.context import LambdaContext
from lambent.runtimes.entry import resolve
from lambent.runtimes.faults import Fault
from lambent.runtimes.streaming import one_by_one, stream, stream_async, yields, yields_async
from lambent.runtimes.tensors.exchange import Arrays, read_call, write_call
from lambent.wire.process import RevisionPlan

if TYPE_CHECKING:
    from lambent.runtimes.threaded import Threads

Function = Callable[[object, LambdaContext], object]

XRAY: Final = "_X_AMZN_TRACE_ID"


class Handler:
    """A loaded function."""

    def __init__(self, function: Function, plan: RevisionPlan, clock: Clock, log: logs.RequestLog) -> None:
        self._function: Final = function
        self._plan: Final = plan
        self._clock: Final = clock
        self._log: Final = log
        self._is_async: Final = is_async(function)
        self._awaiter: Final = Awaiter()  # a sync function may return an awaitable
        self._threads: Threads | None = None
        self._xray = ""  # what the environment says

    def __call__(self, request: Request, line: Line, /) -> Reply:
        """Run it once."""
        self._show_xray(request)
        result = self._awaiter.settled(self._function(*self._arguments(request)))
        if yields_async(result):  # from a sync function: what wraps one is often sync
            result = one_by_one(result, self._awaiter.settled)
        return stream(result, line) if yields(result) else write_call(request.call, result)

    def practise(self, request: Request, line: Line, /) -> Reply:
        """A function that returns its event runs in place of the user's."""
        return Handler(_echo, self._plan, self._clock, self._log)(request, line)

    @property
    def is_concurrent(self) -> bool:
        """Async code wants a loop; sync code that runs calls side by side does so in threads."""
        return self._is_async or self._plan.concurrency > 1

    async def start(self) -> None:
        """The threads, where it wants some."""
        if self._plan.threaded and not self._is_async:
            from lambent.runtimes.threaded import Threads

            self._threads = Threads(self._plan.concurrency)

    async def stop(self) -> None:
        """What still runs in a thread is not waited for: nobody waits for its answer."""
        if self._threads is not None:
            self._threads.stop()

    async def converse(self, request: Request, line: AsyncLine, /) -> Reply:
        """Run it once, beside others."""
        arguments = self._arguments(request)
        if self._threads is None:
            result = self._function(*arguments)
        else:
            result = await self._threads.run(functools.partial(self._in_thread, request, arguments), line)
        if isinstance(result, Reply):
            return result
        if isinstance(result, Awaitable):
            result = await result
        if yields(result) or yields_async(result):
            return await stream_async(result, line)
        return write_call(request.call, result)

    def _in_thread(self, request: Request, arguments: tuple[object, LambdaContext], line: Line) -> object:
        """As far as it is sync; what is not is for the loop."""
        result = self._function(*arguments)
        if yields(result):
            return stream(result, line)
        if isinstance(result, Awaitable) or yields_async(result):
            return result
        return write_call(request.call, result)

    def _show_xray(self, request: Request) -> None:
        """Where calls run one after another the environment can say it, as on Lambda."""
        call = request.call
        if call.called is not None:
            xray = xray_from(call.invocation_id, call.trace)
        else:
            xray = call.trace.xray if call.trace is not None else ""
        if xray == self._xray:
            return
        self._xray = xray
        if xray:
            os.environ[XRAY] = xray
        else:
            os.environ.pop(XRAY, None)

    def _arguments(self, request: Request) -> tuple[object, LambdaContext]:
        call = request.call
        self._log.request_id = call.invocation_id
        context = LambdaContext(self._plan, call, self._clock)
        return read_call(call, request.body, Arrays.IF_LOADED), context


def is_async(function: object) -> bool:
    """Whether it is written for an event loop. A callable object is judged by its `__call__`."""
    if not inspect.isroutine(function):
        function = getattr(function, "__call__", function)  # noqa: B004 - its code is looked at, not whether it can be called
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _echo(event: object, _: LambdaContext) -> object:
    return event


def load(plan: RevisionPlan, loading: Loading) -> Handler:
    """Import the user's module. Raises `Fault` as Lambda does, and whatever the module raises."""
    log = logs.install()
    with loading.part("init"):
        function = resolve(plan.entrypoint, plan.code_dir)
    if not callable(function):
        message = f"Handler '{plan.entrypoint}' is not callable: it is a {type(function).__name__}"
        raise Fault("Runtime.HandlerNotFound", message)
    if plan.concurrency > 1 and not (plan.threaded or is_async(function)):
        message = (
            f"'{plan.entrypoint}' is not async and cannot run {plan.concurrency} calls at once: "
            "make it async, or set parallel=threads if it may run in threads"
        )
        raise Fault("Lambent.NotConcurrent", message)
    if is_async(function) or plan.threaded:
        import asyncio  # noqa: F401 - once in the template rather than in each worker
    return Handler(function, plan, loading.clock, log)
