"""One worker as the pool sees it: its state, and the lease of its slot."""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

import msgspec

from lambent.core.admission import OVERDUE_S
from lambent.core.invocation import JSON, FunctionError, Head, PrintTail, Status
from lambent.core.lifecycle import Event, Instruction, State, step
from lambent.engines.base import Exit, Hears, Worker, WorkerGone
from lambent.wire.api import WakeView
from lambent.wire.frames import Batch, Call, Cancel, Each, ToCall
from lambent.wire.process import RevisionPlan

EARLY_S_MAX: Final = 0.001  # event loops round: a timer may ring so much before its time
# How long a call that is over its time may take to end by itself, where killing its worker would end others.
CANCEL_GRACE_S: Final = 1.0


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one call on a worker. With a status other than ok, `body` is a `FunctionError` as JSON."""

    status: Status
    body: bytes
    content_type: str
    run_us: int
    cpu_us: int
    rss_bytes: int
    printed: bytes
    each: tuple[Each, ...] = ()
    head: Head | None = None
    own_us: int = 0  # as in `Answer`


class Overtime(Enum):
    """What is done about a call that is over its time, on a worker that runs no other."""

    END = "end"  # its owner's limit: what does not keep it may be stuck, so its worker is ended
    ASK = "ask"  # its caller's: user code is told to end it, and its worker lives where it does soon


class NotStarted(Exception):
    """The worker ended before it came to this call, or took it: another one may run it."""


class Owner(Protocol):
    """Who carries out what the lifecycle asks for: the pool."""

    def apply(self, member: Member, instructions: tuple[Instruction, ...]) -> None:
        """Do these, in this order."""

    def room(self, member: Member) -> None:
        """A call has ended on a busy worker: one more may be sent ahead."""

    def now_s(self) -> float:
        """Monotonic seconds."""


class Member:
    """A worker of the pool, with its place in the lifecycle and the calls that it was sent.

    A worker runs as many calls at once as it has slots. Those behind them were sent ahead, so that it does
    not have to wait for them; their time counts from their turn. If it ends before that, they were not
    started.
    """

    __slots__ = (
        "_failing",
        "_running",
        "_sent",
        "_state",
        "_timer",
        "_timer_s",
        "alone",
        "leases",
        "owner",
        "plan",
        "ready_s",
        "revision",
        "wake",
        "worker",
    )

    def __init__(self, owner: Owner, plan: RevisionPlan, worker: Worker, wake: WakeView) -> None:
        self._state = State.STARTING
        self._sent: Final[deque[Lease]] = deque()
        self._running = 0  # how many of them have begun
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0  # when it rings
        self._failing = False  # it ends, or has ended: it takes no more calls
        self.owner = owner
        self.plan = plan
        self.revision = plan.revision
        self.ready_s = owner.now_s()  # since when it takes calls
        self.worker = worker
        self.wake: WakeView | None = wake  # told to the first lease, then forgotten
        self.leases = 0
        self.alone = False  # its one lease shares it with no other

    @property
    def state(self) -> State:
        """Where it is in its life."""
        return self._state

    def tell(self, event: Event) -> None:
        """Something happened to it; what must be done about that is done before this returns."""
        self._state, instructions = step(self._state, event)
        if instructions:
            self.owner.apply(self, instructions)

    def takes(self, ahead: int) -> bool:
        """Whether one more call may be sent while it is busy, when so many may be ahead of their turn."""
        room = self.leases < self.plan.concurrency + ahead
        return room and self._state is State.BUSY and not self._failing and not self.alone

    @property
    def is_overdue(self) -> bool:
        """Whether the call that runs takes longer than those that others may be sent behind."""
        return bool(self._sent) and self.owner.now_s() - self._sent[0].started_s > OVERDUE_S

    def sent(self, lease: Lease) -> None:
        """A call is on its way."""
        self._sent.append(lease)
        if self._running < self.plan.concurrency:
            self._begin(lease)

    def ended(self, lease: Lease, event: Event) -> None:
        """A call was answered, or never will be. Raises `NotStarted` where its turn never came."""
        if lease.begun:  # not "is the first": who hears of the worker's end first is a matter of chance
            self._sent.remove(lease)
            self._running -= 1
            if event is not Event.RETURNED:
                self._end()
                if event is Event.RETIRING and self._running:
                    event = Event.STOP_ASKED  # what runs beside it is finished first
            elif len(self._sent) > self._running:
                self._begin(self._sent[self._running])
            self.returned(event)
        elif event is Event.KILL_ASKED:  # cancelled before its turn, which comes nevertheless
            lease.abandoned = True
            self.returned(None)
        else:
            self._failing = True
            self._sent.remove(lease)
            self.returned(None)
            if event is Event.EXITED:
                raise NotStarted

    def returned(self, event: Event | None) -> None:
        """A lease is over. `None` is for one that changed nothing."""
        self.leases -= 1
        self.alone = False
        if event is not None and (event is not Event.RETURNED or not self.leases):
            self.tell(event)
            if event is Event.STOP_ASKED:
                self.owner.room(self)  # there is one worker less for who waits
        elif self._state is State.BUSY:
            self.owner.room(self)

    def _begin(self, lease: Lease) -> None:
        if lease.abandoned:
            self._end()
            self.tell(Event.KILL_ASKED)
            return
        now_s = self.owner.now_s()
        lease.begun, lease.started_s, lease.due_s = True, now_s, now_s + lease.timeout_s
        self._running += 1
        self._wait_until(lease.due_s)

    def _wait_until(self, due_s: float) -> None:
        # One timer lives through many calls: making one and taking it back costs more than a short call.
        if self._timer is not None:
            if self._timer_s <= due_s:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(due_s - self.owner.now_s(), self._look)
        self._timer_s = due_s

    def _look(self) -> None:
        """Whether a call that runs has used up its time."""
        self._timer = None
        late_s = self.owner.now_s() + EARLY_S_MAX
        for lease in tuple(self._sent):
            if lease.begun and lease.due_s <= late_s and not self._failing:
                self._overdue(lease)
        if self._running and not self._failing:
            self._wait_until(min(lease.due_s for lease in self._sent if lease.begun))

    def _overdue(self, lease: Lease) -> None:
        ends = self.plan.concurrency == 1 and lease.overtime is Overtime.END
        if ends or lease.timed_out:
            lease.timed_out = True
            self._end()  # there is nothing more to wait for but the end of its process
            self.tell(Event.TIMED_OUT)
        else:
            lease.timed_out = True
            lease.due_s += CANCEL_GRACE_S
            lease.cancel()

    def _end(self) -> None:
        self._failing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Lease:
    """The right to run one call on a member. Ends in `run` or in `give_back`, exactly once."""

    __slots__ = (
        "_call_id",
        "abandoned",
        "begun",
        "due_s",
        "member",
        "over",
        "overtime",
        "plan",
        "started_s",
        "timed_out",
        "timeout_s",
        "wake",
    )

    def __init__(self, member: Member) -> None:
        self.member = member
        self.plan = member.plan  # of the worker's own revision: the route may have moved on since
        self.wake = member.wake
        self.begun = False  # its turn has come
        self.over = False  # it has ended, in whatever way
        self.timed_out = False
        self.abandoned = False  # nobody waits for it any more; its worker runs it all the same
        self.started_s = 0.0
        self.due_s = 0.0  # when it has used up its time
        self.timeout_s = 0.0
        self.overtime = Overtime.END
        self._call_id = 0
        member.wake = None
        member.leases += 1

    def give_back(self) -> None:
        """Nobody wants the slot after all."""
        self.over = True
        if self.wake is not None:  # else another lease may have told it, or given it back
            self.member.wake = self.wake
        self.member.returned(Event.RETURNED)

    def behind(self, ahead: int) -> Lease | None:
        """The right to run another call on its worker, behind it; None where that takes no more.

        Up to `ahead` calls may be sent there ahead of their turn.
        """
        return Lease(self.member) if self.member.takes(ahead) else None

    def tell(self, header: ToCall, body: bytes = b"") -> None:
        """Say something to the call that runs."""
        self.member.worker.tell(header, body)

    def cancel(self) -> None:
        """Nobody waits for the call any more: user code is told to end it. It is answered all the same."""
        self.member.worker.tell(Cancel(self._call_id))

    async def run(
        self,
        call: Call | Batch,
        body: bytes,
        *,
        timeout_s: float,
        overtime: Overtime = Overtime.END,
        print_tail: PrintTail,
        hears: Hears | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> Ran:
        """Run `call` to its end, its timeout or its worker's death. The slot is free again after it.

        `hears` is told what it says before its answer; from `on_sent` on it may be told something. Raises
        `NotStarted` where the worker ended before it came to this call.
        """
        member, worker = self.member, self.member.worker
        self.timeout_s, self.overtime = timeout_s, overtime
        self._call_id = call.call_id
        member.sent(self)
        event = Event.KILL_ASKED  # if the caller is cancelled in the middle: the worker still runs that call
        try:
            answering = worker.call(call, body, hears)
            if on_sent is not None:
                on_sent()
            answer, result = await answering
            event = Event.RETIRING if answer.retiring else Event.RETURNED
            if self.timed_out and answer.status is Status.CANCELLED:
                return self._without_answer(
                    call, Exit(code=None, cpu_us=answer.cpu_us, rss_bytes_max=answer.rss_bytes)
                )
            return Ran(
                status=answer.status,
                body=result,
                content_type=answer.content_type,
                run_us=answer.run_us,
                cpu_us=answer.cpu_us,
                rss_bytes=answer.rss_bytes,
                printed=worker.printed() if print_tail is PrintTail.KEPT else b"",
                each=answer.each,
                head=answer.head,
                own_us=answer.own_us,
            )
        except WorkerGone as gone:
            event = Event.EXITED
            if gone.unread and not self.timed_out:
                raise NotStarted from None
            return self._without_answer(call, gone.exit)
        finally:
            self.over = True
            member.ended(self, event)

    def _without_answer(self, call: Call | Batch, end: Exit) -> Ran:
        """What is said in place of a worker that cannot say it, in AWS Lambda's words."""
        run_s = self.member.owner.now_s() - self.started_s
        named = call.invocation_id if isinstance(call, Call) else call.calls[0].invocation_id
        said = f"RequestId: {named} Error: "
        if self.timed_out:
            status = Status.TIMED_OUT
            error = FunctionError(
                f"{said}Task timed out after {self.timeout_s:.2f} seconds", "Sandbox.Timedout"
            )
        else:
            status = Status.EXITED
            error = FunctionError(said + _last_words(end), "Runtime.ExitError")
        return Ran(
            status=status,
            body=msgspec.json.encode(error),
            content_type=JSON,
            run_us=int(run_s * 1e6),
            cpu_us=end.cpu_us,
            rss_bytes=end.rss_bytes_max,
            printed=self.member.worker.printed(),
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
