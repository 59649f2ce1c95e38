"""A worker's loop: take a call, run user code, answer. Whatever user code does, the answer is a clear one."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from lambent.core.errors import Cancelled
from lambent.core.invocation import JSON, OCTETS, FunctionError, Head, Status, cancelled_error
from lambent.runtimes import otel
from lambent.runtimes.base import Reply, Request, Servable, Together
from lambent.runtimes.calling import use
from lambent.runtimes.faults import Fault, Reported, as_text, exit_code, function_error
from lambent.runtimes.forked import leave_if_forked
from lambent.runtimes.outputs import say
from lambent.wire.frames import BODY_BYTES_MAX, Answer, Batch, Call, Each
from lambent.worker.asking import SerialCaller
from lambent.worker.interrupt import Interrupt
from lambent.worker.line import SerialLine
from lambent.worker.mail import Mail
from lambent.worker.printing import Printing
from lambent.worker.sandbox import open_reserve
from lambent.worker.stream import BodyTooLarge, Stream


class Verdict(msgspec.Struct, frozen=True):
    """How a call ended. `exit_code` is set where the worker must take no more calls."""

    status: Status
    reply: Reply
    exit_code: int | None = None


class Loop:
    """Answers calls one after another, until the server or user code ends it."""

    def __init__(self, stream: Stream, servable: Servable, printing: Printing, *, one_shot: bool) -> None:
        self._stream: Final = stream
        self._servable: Final = servable
        self._printing: Final = printing
        self._one_shot: Final = one_shot
        self._pid: Final = os.getpid()
        self._mail: Final = Mail(stream)
        self._interrupt: Final = Interrupt(self._mail)
        self._caller: Final = SerialCaller(stream, self._mail, self._interrupt)

    def listen(self) -> None:
        """Let a signal end user code whose call nobody waits for."""
        self._interrupt.listen()

    def run(self) -> int:
        """Serve, and return the status to exit with. Raises `FrameError`, `OSError` for a broken stream."""
        use(self._caller)
        while True:
            try:
                work = self._mail.next()
            except BodyTooLarge as error:
                self._refuse(error)
                continue
            if work is None:
                return 0
            call, body = work
            self._caller.turn(call)
            otel.enter(self._caller.call)
            self._stream.busy = True
            code = self._batch(call, body) if isinstance(call, Batch) else self._call(call, body)
            self._stream.rest()
            self._mail.close(call.call_id)
            if code is not None:
                return code

    def _call(self, call: Call, body: bytearray) -> int | None:
        """Run one call and answer it. Returns an exit status where it was the last."""
        waits = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        meter = Meter()
        line = self._line(call)
        verdict = self._verdict(Request(call, body), line)
        line.close()
        return self._answer(call.call_id, verdict, meter.read(), waits=waits)

    def _batch(self, batch: Batch, body: bytearray) -> int | None:
        meter = Meter()
        requests = list(_parted(batch, body))
        verdicts = held_to(self._verdicts(requests), requests, bytes_max=BODY_BYTES_MAX)
        each = tuple(
            Each(verdict.status, verdict.reply.content_type, len(verdict.reply.body), verdict.reply.head)
            for verdict in verdicts
        )
        codes = [verdict.exit_code for verdict in verdicts if verdict.exit_code is not None]
        whole = Verdict(
            Status.OK,
            Reply(b"".join(verdict.reply.body for verdict in verdicts), OCTETS),
            codes[0] if codes else None,
        )
        return self._answer(batch.call_id, whole, meter.read(), each)

    def _verdict(self, request: Request, line: SerialLine) -> Verdict:
        """How user code ends, whatever it does."""
        call = request.call
        try:
            return self._ran(request, line)
        except Cancelled:  # it came between two steps of ours
            return failed(Cancelled(), call.invocation_id)

    def _ran(self, request: Request, line: SerialLine) -> Verdict:
        call = request.call
        try:
            if self._mail.is_cancelled(call.call_id):
                raise Cancelled
            self._interrupt.enter(call.call_id)
            reply = self._servable(request, line)
            self._interrupt.pause()
        except BaseException as error:  # noqa: BLE001 - around user code, which may raise anything
            self._interrupt.pause()
            leave_if_forked(self._pid, error)
            return failed(error, call.invocation_id)
        leave_if_forked(self._pid)
        return Verdict(Status.OK, reply)

    def _verdicts(self, requests: Sequence[Request]) -> Sequence[Verdict]:
        if not isinstance(self._servable, Together):
            return [self._verdict(request, self._line(request.call)) for request in requests]
        try:
            self._interrupt.enter(requests[0].call.call_id)
            ended = self._servable.together(requests)
            self._interrupt.pause()
        except BaseException as error:  # noqa: BLE001 - around user code, which may raise anything
            self._interrupt.pause()
            leave_if_forked(self._pid, error)
            return [failed(error, request.call.invocation_id) for request in requests]
        leave_if_forked(self._pid)
        return [
            Verdict(Status.OK, end) if isinstance(end, Reply) else failed(end, request.call.invocation_id)
            for request, end in zip(requests, ended, strict=True)
        ]

    def _line(self, call: Call) -> SerialLine:
        return SerialLine(call.call_id, self._stream, self._mail, self._interrupt)

    def _refuse(self, error: BodyTooLarge) -> None:
        header = error.header
        if isinstance(header, Call):
            self._answer(header.call_id, failed(error, header.invocation_id), Used())
        elif isinstance(header, Batch):
            ends = [failed(error, call.invocation_id) for call in header.calls]
            each = tuple(Each(end.status, JSON, len(end.reply.body)) for end in ends)
            whole = Reply(b"".join(end.reply.body for end in ends))
            self._answer(header.call_id, Verdict(Status.OK, whole), Used(), each)

    def _answer(
        self, call_id: int, verdict: Verdict, used: Used, each: tuple[Each, ...] = (), *, waits: int = -1
    ) -> int | None:
        """Answer a call, before which this process had given up its core so many times."""
        code = verdict.exit_code
        last = self._printing.settle() or self._one_shot or self._stream.ending
        if last and code is None:
            code = 0
        usage = resource.getrusage(resource.RUSAGE_SELF)
        answer = Answer(
            call_id=call_id,
            status=verdict.status,
            content_type=verdict.reply.content_type,
            run_us=used.run_us,
            cpu_us=used.cpu_us,
            rss_bytes=usage.ru_maxrss * 1024,
            retiring=code is not None,
            each=each,
            head=verdict.reply.head,
            own_us=used.cpu_us if usage.ru_nvcsw == waits else used.run_us,
            total_us=used.total_us,
        )
        self._stream.send(answer, verdict.reply.body)
        return code


def _parted(batch: Batch, body: bytearray) -> Iterator[Request]:
    start = 0
    for call, size in zip(batch.calls, batch.sizes, strict=True):
        yield Request(call, body[start : start + size])
        start += size


def too_large(bytes_max: int) -> Fault:
    """What is said of a result for which there is no room beside the others."""
    message = f"The results of a batch exceed {bytes_max} bytes: set a smaller max_batch."
    return Fault("Function.ResponseSizeTooLarge", message)


def held_to(verdicts: Sequence[Verdict], requests: Sequence[Request], *, bytes_max: int) -> list[Verdict]:
    """The verdicts of a batch, but errors in place of results for which one frame has no room."""
    held: list[Verdict] = []
    room = bytes_max
    for verdict, request in zip(verdicts, requests, strict=True):
        fits = len(verdict.reply.body) <= room
        held.append(verdict if fits else failed(too_large(bytes_max), request.call.invocation_id))
        room -= len(held[-1].reply.body)
    return held


class Used(msgspec.Struct, frozen=True):
    """What a call took: the time in user code, and the CPU time of the process meanwhile, and of its life."""

    run_us: int = 0
    cpu_us: int = 0
    total_us: int = 0


class Meter:
    """Measures from when it is made, the CPU time by `clock_ns`."""

    __slots__ = ("_clock_ns", "_cpu_ns", "_ns")

    def __init__(self, clock_ns: Callable[[], int] = time.process_time_ns) -> None:
        self._clock_ns = clock_ns
        self._ns, self._cpu_ns = time.perf_counter_ns(), clock_ns()

    def read(self) -> Used:
        """What was used until now."""
        took_ns, total_ns = time.perf_counter_ns() - self._ns, self._clock_ns()
        return Used(took_ns // 1000, max(0, total_ns - self._cpu_ns) // 1000, total_ns // 1000)


def total_ns() -> int:
    """The CPU time of this process until now."""
    return time.process_time_ns()


def failed(error: BaseException, request_id: str) -> Verdict:
    """What an invocation came to whose code raised `error`."""
    if isinstance(error, Cancelled):
        return Verdict(Status.CANCELLED, Reply(msgspec.json.encode(cancelled_error(request_id))))
    if isinstance(error, Reported):  # the program has logged it in its own way
        return Verdict(Status.FAILED, Reply(error.body))
    if isinstance(error, MemoryError) and not isinstance(error, BodyTooLarge):
        # What it left cannot be known, and the next call would meet it.
        open_reserve()
        return Verdict(Status.FAILED, _said(function_error(error, request_id)), exit_code=0)
    if isinstance(error, SystemExit):
        if isinstance(error.code, str):
            say(f"{error.code}\n")  # as the interpreter does for sys.exit("message")
        ended = function_error(error, request_id)
        say(f"{ended.error_message}\n{ended.error_type}\n")  # AWS's two lines
        return Verdict(Status.EXITED, _body(ended), exit_code=exit_code(error))
    said = _said(function_error(error, request_id))
    if isinstance(error, Fault) and error.status:
        said = msgspec.structs.replace(said, head=Head(error.status))
    return Verdict(Status.FAILED, said)


def _said(error: FunctionError) -> Reply:
    """The error for the caller; the log gets it too."""
    say(as_text(error))
    return _body(error)


def _body(error: FunctionError) -> Reply:
    return Reply(msgspec.json.encode(error), JSON)
