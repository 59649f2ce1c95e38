"""One worker as the pool sees it: its state, and the lease of its slot."""

from __future__ import annotations

import asyncio
import signal
from typing import Protocol

import msgspec

from lambent.core.invocation import JSON, FunctionError, Status
from lambent.core.lifecycle import Event, Instruction, State, step
from lambent.engines.base import Exit, Worker, WorkerGone
from lambent.wire.api import WakeView
from lambent.wire.frames import Call


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one call on a worker. With a status other than ok, `body` is a `FunctionError` as JSON."""

    status: Status
    body: bytes
    content_type: str
    run_us: int
    cpu_us: int
    rss_bytes: int
    printed: bytes


class Owner(Protocol):
    """Who carries out what the lifecycle asks for: the pool."""

    def apply(self, member: Member, instructions: tuple[Instruction, ...]) -> None:
        """Do these, in this order."""

    def now_s(self) -> float:
        """Monotonic seconds."""


class Member:
    """A worker of the pool, with its place in the lifecycle."""

    __slots__ = ("_state", "owner", "revision", "wake", "worker")

    def __init__(self, owner: Owner, revision: str, worker: Worker, wake: WakeView) -> None:
        self._state = State.STARTING
        self.owner = owner
        self.revision = revision
        self.worker = worker
        self.wake: WakeView | None = wake  # told to the first lease, then forgotten

    @property
    def state(self) -> State:
        """Where it is in its life."""
        return self._state

    def tell(self, event: Event) -> None:
        """Something happened to it; what must be done about that is done before this returns."""
        self._state, instructions = step(self._state, event)
        if instructions:
            self.owner.apply(self, instructions)


class Lease:
    """The right to run one call on a member. Ends in `run` or in `give_back`, exactly once."""

    __slots__ = ("_member", "revision", "wake")

    def __init__(self, member: Member) -> None:
        self._member = member
        self.revision = member.revision
        self.wake = member.wake
        member.wake = None

    def give_back(self) -> None:
        """Nobody wants the slot after all."""
        self._member.wake = self.wake
        self._member.tell(Event.RETURNED)

    async def run(self, call: Call, body: bytes, *, timeout_s: float) -> Ran:
        """Run `call` to its end, its timeout or its worker's death. The slot is free again after it."""
        member = self._member
        worker = member.worker
        started_s = member.owner.now_s()
        timer = asyncio.get_running_loop().call_later(timeout_s, member.tell, Event.TIMED_OUT)
        event = Event.KILL_ASKED  # if the caller is cancelled in the middle: the worker still runs that call
        try:
            answer, result = await worker.call(call, body)
            event = Event.RETIRING if answer.retiring else Event.RETURNED
            return Ran(
                status=answer.status,
                body=result,
                content_type=answer.content_type,
                run_us=answer.run_us,
                cpu_us=answer.cpu_us,
                rss_bytes=answer.rss_bytes,
                printed=worker.printed(),
            )
        except WorkerGone as gone:
            event = Event.EXITED
            run_s = member.owner.now_s() - started_s
            status = Status.TIMED_OUT if run_s >= timeout_s else Status.EXITED
            return _without_answer(
                call, status, gone.exit, run_s=run_s, timeout_s=timeout_s, printed=worker.printed()
            )
        finally:
            timer.cancel()
            member.tell(event)


def _without_answer(
    call: Call, status: Status, end: Exit, *, run_s: float, timeout_s: float, printed: bytes
) -> Ran:
    """What is said in place of a worker that cannot say it, in AWS Lambda's words."""
    said = f"RequestId: {call.invocation_id} Error: "
    if status is Status.TIMED_OUT:
        error = FunctionError(f"{said}Task timed out after {timeout_s:.2f} seconds", "Sandbox.Timedout")
    else:
        error = FunctionError(said + _last_words(end), "Runtime.ExitError")
    return Ran(
        status=status,
        body=msgspec.json.encode(error),
        content_type=JSON,
        run_us=int(run_s * 1e6),
        cpu_us=end.cpu_us,
        rss_bytes=end.rss_bytes_max,
        printed=printed,
    )


def _last_words(end: Exit) -> str:
    if end.code is None or end.code == 0:
        return "Runtime exited without providing a reason"
    if end.code > 0:
        return f"Runtime exited with error: exit status {end.code}"
    try:
        name = signal.Signals(-end.code).name
    except ValueError:
        name = str(-end.code)
    return f"Runtime exited with error: signal {-end.code} ({name})"
