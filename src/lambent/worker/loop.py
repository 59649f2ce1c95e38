"""A worker's loop: take a call, run user code, answer. Whatever user code does, the answer is a clear one."""

from __future__ import annotations

import os
import resource
import sys
import time
from typing import Final

import msgspec

from lambent.core.invocation import JSON, FunctionError, Status
from lambent.runtimes.base import Reply, Request, Servable
from lambent.runtimes.faults import as_text, exit_code, function_error
from lambent.wire.frames import Answer, Call, Progress
from lambent.worker.printing import Printing, flush
from lambent.worker.sandbox import open_reserve
from lambent.worker.stream import BodyTooLarge, Stream


class Verdict(msgspec.Struct, frozen=True):
    """How a call ended. `exit_code` is set where the worker must take no more calls."""

    status: Status
    reply: Reply
    exit_code: int | None = None


class Loop:
    """Answers calls until the server or user code ends it."""

    def __init__(self, stream: Stream, servable: Servable, printing: Printing, *, one_shot: bool) -> None:
        self._stream: Final = stream
        self._servable: Final = servable
        self._printing: Final = printing
        self._one_shot: Final = one_shot
        self._pid: Final = os.getpid()
        self._running: int | None = None

    def run(self) -> int:
        """Serve, and return the status to exit with. Raises `FrameError`, `OSError` for a broken stream."""
        while True:
            try:
                frame = self._stream.receive()
            except BodyTooLarge as error:
                if isinstance(error.header, Call):
                    self._answer(error.header, _failed(error, error.header.invocation_id))
                continue
            if frame is None or not isinstance(frame[0], Call):
                return 0  # the end of the stream, or `Stop`
            if (code := self._call(frame[0], frame[1])) is not None:
                return code

    def _call(self, call: Call, body: bytearray) -> int | None:
        """Run one call and answer it. Returns an exit status where it was the last."""
        started_ns, started_cpu_ns = time.perf_counter_ns(), time.process_time_ns()
        self._running = call.call_id
        verdict = self._verdict(call, body)
        self._running = None
        run_us = (time.perf_counter_ns() - started_ns) // 1000
        cpu_us = (time.process_time_ns() - started_cpu_ns) // 1000
        return self._answer(call, verdict, run_us=run_us, cpu_us=cpu_us)

    def _verdict(self, call: Call, body: bytearray) -> Verdict:
        def notify(news: bytes) -> None:
            # A thread that user code left behind may still have something to say when its call is over.
            if self._running == call.call_id:
                self._stream.send(Progress(call.call_id), news)

        try:
            reply = self._servable(Request(call, body, notify))
        except BaseException as error:  # noqa: BLE001 - around user code, which may raise anything
            leave_if_forked(self._pid, error)
            return _failed(error, call.invocation_id)
        leave_if_forked(self._pid)
        return Verdict(Status.OK, reply)

    def _answer(self, call: Call, verdict: Verdict, *, run_us: int = 0, cpu_us: int = 0) -> int | None:
        code = verdict.exit_code
        last = self._printing.settle() or self._one_shot or self._stream.ending
        if last and code is None:
            code = 0
        answer = Answer(
            call_id=call.call_id,
            status=verdict.status,
            content_type=verdict.reply.content_type,
            run_us=run_us,
            cpu_us=cpu_us,
            rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            retiring=code is not None,
        )
        self._stream.send(answer, verdict.reply.body)
        return code


def leave_if_forked(pid: int, error: BaseException | None = None) -> None:
    """Where this is not the process `pid`, user code forked and the child came back: it ends here.

    One of two must not speak for the other. `error` is what user code raised in the child.
    """
    if os.getpid() == pid:
        return
    if error is not None:
        _print(as_text(function_error(error)))
    flush()
    os._exit(0 if error is None else exit_code(error) if isinstance(error, SystemExit) else 1)


def _failed(error: BaseException, request_id: str) -> Verdict:
    if isinstance(error, MemoryError) and not isinstance(error, BodyTooLarge):
        # What it left cannot be known, and the next call would meet it.
        open_reserve()
        return Verdict(Status.FAILED, _said(function_error(error, request_id)), exit_code=0)
    if isinstance(error, SystemExit):
        if isinstance(error.code, str):
            _print(f"{error.code}\n")  # as the interpreter does for sys.exit("message")
        return Verdict(Status.EXITED, _said(function_error(error, request_id)), exit_code=exit_code(error))
    return Verdict(Status.FAILED, _said(function_error(error, request_id)))


def _said(error: FunctionError) -> Reply:
    """The error for the caller; the log gets it too."""
    _print(as_text(error))
    return Reply(msgspec.json.encode(error), JSON)


def _print(text: str) -> None:
    try:
        sys.stderr.write(text)
    except Exception:  # noqa: BLE001 - user code may have closed it; the answer matters more
        return
