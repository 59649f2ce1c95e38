"""The handler runtime: an AWS Lambda function, `handler(event, context)`, sync or async."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lambent.clock import Clock
from lambent.runtimes import logs, payload
from lambent.runtimes.awaiting import Awaiter
from lambent.runtimes.base import Loading, Reply, Request
from lambent.runtimes.context import LambdaContext
from lambent.runtimes.entry import resolve
from lambent.runtimes.faults import Fault
from lambent.wire.process import RevisionPlan

Function = Callable[[object, LambdaContext], object]


class Handler:
    """A loaded function."""

    def __init__(self, function: Function, plan: RevisionPlan, clock: Clock, log: logs.RequestLog) -> None:
        self._function: Final = function
        self._plan: Final = plan
        self._clock: Final = clock
        self._log: Final = log
        self._awaiter: Final = Awaiter()

    def __call__(self, request: Request, /) -> Reply:
        """Run it once."""
        call = request.call
        self._log.request_id = call.invocation_id
        context = LambdaContext(self._plan, call, self._clock)
        result = self._function(payload.decode(call.content_type, request.body), context)
        return payload.encode(self._awaiter.settled(result))

    def practise(self, request: Request, /) -> Reply:
        """A function that returns its event runs in place of the user's."""
        return Handler(_echo, self._plan, self._clock, self._log)(request)


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
    return Handler(function, plan, loading.clock, log)
