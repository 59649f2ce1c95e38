"""Asynchronous invocations as a caller holds them: to wait for, to look at, to cancel, one or many."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

import msgspec

from lambent.client.errors import ApiError, FunctionFailed
from lambent.client.replies import Reply
from lambent.clock import Clock, SystemClock
from lambent.core.errors import LambentError, PlatformFault
from lambent.wire.api import AsyncReply, Problem

AT_ONCE_MAX: Final = 16
WAIT_S: Final = 20.0  # for one answer of the server, which says sooner when there is something to say
FULL_WAIT_S: Final = 1.0

# Told how many of how many have ended.
Progress = Callable[[int, int], None]


class TimedOut(PlatformFault):
    """It had not ended when the time was over. It goes on; ask again later."""

    code = "wait_timed_out"
    status = 504


class Results(Protocol):
    """Who knows what became of an invocation: a `Client`."""

    def result(self, invocation_id: str, *, wait_s: float = 0.0) -> Reply | AsyncReply:
        """The outcome, or how far it is. Raises `FunctionFailed`."""

    def cancel(self, invocation_id: str) -> AsyncReply:
        """Let one that has not ended end now. Raises `ApiError` where it has ended."""


class Handle:
    """One asynchronous invocation. `id` is enough to ask for it again from anywhere."""

    def __init__(self, results: Results, invocation_id: str, clock: Clock | None = None) -> None:
        self.id: Final = invocation_id
        self._results: Final = results
        self._clock: Final = clock or SystemClock()

    def result(self, timeout_s: float | None = None) -> Any:
        """What it returned. Waits, for as long as it takes or `timeout_s`.

        Raises `FunctionFailed` where it could not be done after all retries, was cancelled, or its result was
        not kept, and `TimedOut`.
        """
        return self.reply(timeout_s).value

    def reply(self, timeout_s: float | None = None) -> Reply:
        """Like `result`, with the bytes and what the headers tell."""
        until_s = None if timeout_s is None else self._clock.now_s() + timeout_s
        while True:
            left_s = WAIT_S if until_s is None else until_s - self._clock.now_s()
            found = self._results.result(self.id, wait_s=max(0.0, min(WAIT_S, left_s)))
            if isinstance(found, Reply):
                return found
            if until_s is not None and self._clock.now_s() >= until_s:
                raise TimedOut(f"{self.id} is {found.state} after {timeout_s:g} s; it goes on")

    def status(self) -> AsyncReply | Reply:
        """How far it is: an `AsyncReply` as long as it has not ended. Raises `FunctionFailed`."""
        return self._results.result(self.id)

    def cancel(self) -> bool:
        """Whether it had not ended, and now is cancelled: it is not tried again, what ran of it is told."""
        try:
            self._results.cancel(self.id)
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        return True

    def __repr__(self) -> str:
        return f"Handle({self.id!r})"


class Ended(msgspec.Struct, frozen=True):
    """How one of many ended: with a reply, or with an error."""

    handle: Handle
    reply: Reply | None = None
    error: LambentError | None = None

    @property
    def value(self) -> Any:
        """What it returned. Raises its error."""
        if self.error is not None or self.reply is None:
            raise self.error or PlatformFault(f"{self.handle.id} has neither a result nor an error")
        return self.reply.value


class SomeFailed(FunctionFailed):
    """Some of many invocations failed. `ended` has them all, in order, with the results of the others."""

    def __init__(self, ended: Sequence[Ended]) -> None:
        failed = [(place, one.error) for place, one in enumerate(ended) if one.error is not None]
        place, first = failed[0]
        problem = first.problem if isinstance(first, ApiError) else None
        super().__init__(
            msgspec.structs.replace(
                problem or Problem(title="Some invocations failed", status=500, code="some_failed"),
                detail=f"{len(failed)} of {len(ended)} failed, the first is number {place}: {first.message}",
            )
        )
        self.ended: Final = tuple(ended)


def gather(
    handles: Iterable[Handle], *, timeout_s: float | None = None, progress: Progress | None = None
) -> tuple[Ended, ...]:
    """How each ended, in their order. Waits for all; no failure is raised here.

    `progress` is told of each end; unless it is given, a terminal shows a bar.
    """
    known = tuple(handles)
    ended: dict[int, Ended] = {}
    with ThreadPoolExecutor(AT_ONCE_MAX) as threads, _shown(progress) as told:
        waiting = {threads.submit(_end_of, handle, timeout_s): at for at, handle in enumerate(known)}
        for done in as_completed(waiting):
            ended[waiting[done]] = done.result()
            told(len(ended), len(known))
    return tuple(ended[at] for at in range(len(known)))


def submit_all(submit: Callable[[object], Handle], events: Iterable[object]) -> tuple[Handle, ...]:
    """A handle for each event, in their order. Where the server's queue is full, waits until it has room."""
    with ThreadPoolExecutor(AT_ONCE_MAX) as threads:
        return tuple(threads.map(lambda event: _patiently(submit, event), events))


def _patiently(submit: Callable[[object], Handle], event: object) -> Handle:
    pause = threading.Event()
    while True:
        try:
            return submit(event)
        except ApiError as error:
            # Dead letters go only when somebody looks at them: to wait for that would be to hang.
            if error.status != 429 or error.code == "dead_letters_full":
                raise
            pause.wait(error.retry_after_s or FULL_WAIT_S)


def _end_of(handle: Handle, timeout_s: float | None) -> Ended:
    try:
        return Ended(handle, reply=handle.reply(timeout_s))
    except LambentError as error:
        return Ended(handle, error=error)


def _shown(progress: Progress | None) -> AbstractContextManager[Progress]:
    if progress is not None or not sys.stderr.isatty():
        return nullcontext(progress or (lambda done, total: None))
    from lambent.client.bars import bar  # rich, for a terminal only

    return bar("waiting")
