"""Signals between any two steps: no call is lost, none is answered twice, no frame is cut in half.

The worker's own loop runs here, in the main thread of the test, and a tracer raises the signal's handler
before lines that a seed chooses: that is where Python runs one.
"""

from __future__ import annotations

import random
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest

import lambent
from lambent.core.invocation import Status
from lambent.runtimes.base import Line, Reply, Request
from lambent.wire.frames import (
    Answer,
    Begin,
    Call,
    Cancel,
    Chunk,
    Credit,
    Form,
    FrameReader,
    Stop,
    ToServer,
    cost_of,
    encode,
)
from lambent.wire.process import CANCEL_SIGNAL
from lambent.worker.interrupt import Interrupt
from lambent.worker.loop import Loop
from lambent.worker.mail import Mail
from lambent.worker.stream import Stream

OURS = str(Path(lambent.__file__).parent)
CALLS = 8


class Quiet:
    """Stands for the outputs of a worker, which a test process keeps."""

    def settle(self) -> bool:
        return False


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Stream]]:
    before = signal.getsignal(CANCEL_SIGNAL)
    ours, theirs = socket.socketpair()
    with ours:
        stream = Stream(theirs.detach())
        yield ours, stream
        stream.close()
    signal.signal(CANCEL_SIGNAL, before)


def looping(stream: Stream, servable: Any) -> Loop:
    quiet: Any = Quiet()
    return Loop(stream, servable, quiet, one_shot=False)


def call(number: int) -> Call:
    return Call(number, f"invocation-{number}", 1000.0)


def wander(request: Request, line: Line) -> Reply:
    """User code: some that computes, some that streams."""
    total = 0
    for number in range(20):
        total += number
        if request.call.call_id % 2 and number % 5 == 0:
            line.write(Form.TEXT, b"%d" % request.call.call_id * 1000)
    return Reply(b"" if request.call.call_id % 2 else b"%d" % total)


def interrupted(seed: int, odds: float) -> Callable[[FrameType, str, Any], Any]:
    chance = random.Random(seed)

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line" and chance.random() < odds:
            handler = signal.getsignal(CANCEL_SIGNAL)
            assert callable(handler)
            sys.settrace(None)
            try:
                handler(CANCEL_SIGNAL, frame)
            finally:
                sys.settrace(trace)
        return trace

    return trace


def all_frames(ours: socket.socket) -> list[tuple[ToServer, bytes]]:
    reader: FrameReader[ToServer] = FrameReader(ToServer)
    frames: list[tuple[ToServer, bytes]] = []
    while chunk := ours.recv(1 << 20):
        frames += reader.feed(chunk)
    assert reader.feed(b"") == []
    return frames


@pytest.mark.parametrize("seed", range(150))
def test_a_signal_between_any_two_steps_loses_no_call_and_no_frame(
    pair: tuple[socket.socket, Stream], seed: int
) -> None:
    ours, stream = pair
    chance = random.Random(seed)
    cancelled = {number for number in range(1, CALLS + 1) if chance.random() < 0.5}
    sent = [encode(call(number), b"{}") for number in range(1, CALLS + 1)]
    for number in cancelled:  # each before or after its call, before or after others
        sent.insert(chance.randint(number, len(sent)), encode(Cancel(number)))
    sent.append(encode(Stop()))
    ours.sendall(b"".join(sent))
    loop = looping(stream, wander)
    loop.listen()
    sys.settrace(interrupted(seed, 0.02))
    try:
        code = loop.run()
    finally:
        sys.settrace(None)
    stream.close()
    frames = all_frames(ours)
    answers = [header for header, _ in frames if isinstance(header, Answer)]
    assert code == 0
    assert [answer.call_id for answer in answers] == list(range(1, CALLS + 1))
    for answer in answers:
        allowed = {Status.OK, Status.CANCELLED} if answer.call_id in cancelled else {Status.OK}
        assert answer.status in allowed
    over = 0
    for header, _ in frames:  # what a call says stands before its own answer and after the one before
        if isinstance(header, Answer):
            over = header.call_id
        elif isinstance(header, Begin | Chunk):
            assert header.call_id == over + 1


def test_a_real_signal_ends_code_that_sleeps_and_code_that_computes(
    pair: tuple[socket.socket, Stream],
) -> None:
    ours, stream = pair
    begun = threading.Event()

    def busy(request: Request, line: Line) -> Reply:
        begun.set()
        if request.body == b"sleep":
            threading.Event().wait(60)
        while True:
            pass

    loop = looping(stream, busy)
    loop.listen()

    def server() -> None:
        for number, body in ((1, b"sleep"), (2, b"compute")):
            ours.sendall(encode(call(number), body))
            begun.wait()
            begun.clear()
            ours.sendall(encode(Cancel(number)))
            signal.pthread_kill(threading.main_thread().ident or 0, CANCEL_SIGNAL)
        ours.sendall(encode(Stop()))

    talking = threading.Thread(target=server)
    talking.start()
    assert loop.run() == 0
    talking.join()
    stream.close()
    answers = [header for header, _ in all_frames(ours) if isinstance(header, Answer)]
    assert [answer.status for answer in answers] == [Status.CANCELLED] * 2


def test_a_signal_about_another_call_interrupts_nobody(pair: tuple[socket.socket, Stream]) -> None:
    ours, stream = pair
    mail = Mail(stream)
    interrupt = Interrupt(mail)
    interrupt.listen()
    ours.sendall(encode(call(2), b"next") + encode(Cancel(2)) + encode(Credit(1, 5)))
    interrupt.enter(1)
    signal.raise_signal(CANCEL_SIGNAL)
    interrupt.pause()
    assert not mail.is_cancelled(1)
    assert mail.credit(1) == 5
    assert mail.credit(1) == 0
    mail.close(1)
    assert mail.next() == (call(2), bytearray(b"next"))
    assert mail.is_cancelled(2)
    mail.close(2)
    assert not mail.is_cancelled(2)


def test_a_body_that_does_not_fit_is_the_fault_of_its_own_call(
    pair: tuple[socket.socket, Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, stream = pair
    big = 1 << 16

    def short(size: int | bytes = 0) -> bytearray:
        if size == big:
            raise MemoryError
        return bytearray(size)

    monkeypatch.setattr("lambent.worker.stream.bytearray", short, raising=False)

    def looks(request: Request, line: Line) -> Reply:
        signal.raise_signal(CANCEL_SIGNAL)
        return Reply(b"fine")

    frames = encode(call(1), b"{}") + encode(call(2), bytes(big)) + encode(call(3), b"{}") + encode(Stop())
    ours.sendall(frames)
    loop = looping(stream, looks)
    loop.listen()
    assert loop.run() == 0
    stream.close()
    answers = {
        header.call_id: (header.status, body)
        for header, body in all_frames(ours)
        if isinstance(header, Answer)
    }
    assert answers[1] == answers[3] == (Status.OK, b"fine")
    assert answers[2][0] is Status.FAILED
    assert b"does not fit" in answers[2][1]


def test_a_stream_waits_when_its_credit_is_gone_and_goes_on_with_more(
    pair: tuple[socket.socket, Stream],
) -> None:
    ours, stream = pair
    piece = bytes(10_000)

    def pours(request: Request, line: Line) -> Reply:
        for _ in range(100):
            line.write(Form.BYTES, piece)
        return Reply(b"", "")

    seen: list[ToServer] = []

    def server() -> None:
        reader: FrameReader[ToServer] = FrameReader(ToServer)
        ours.sendall(encode(call(1), b"{}"))
        while not any(isinstance(header, Answer) for header in seen):
            for header, body in reader.feed(ours.recv(1 << 20)):
                seen.append(header)
                if isinstance(header, Chunk):
                    ours.sendall(encode(Credit(1, cost_of(body))))
        ours.sendall(encode(Stop()))

    talking = threading.Thread(target=server)
    talking.start()
    assert looping(stream, pours).run() == 0
    talking.join()
    assert sum(isinstance(header, Chunk) for header in seen) == 100


def test_what_a_thread_says_after_the_answer_is_not_sent(pair: tuple[socket.socket, Stream]) -> None:
    ours, stream = pair
    threads: list[threading.Thread] = []

    def leaves(request: Request, line: Line) -> Reply:
        def late() -> None:
            for _ in range(10):  # few enough that nobody needs to read yet
                line.notify(b"1")

        threads.append(threading.Thread(target=late))
        threads[-1].start()
        return Reply(b"{}")

    ours.sendall(b"".join(encode(call(number), b"{}") for number in range(1, 11)) + encode(Stop()))
    assert looping(stream, leaves).run() == 0
    for thread in threads:
        thread.join()
    stream.close()
    over = 0
    for header, _ in all_frames(ours):
        assert msgspec.structs.asdict(header)["call_id"] > over
        if isinstance(header, Answer):
            over = header.call_id
