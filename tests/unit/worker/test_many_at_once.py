"""Real workers that run several calls at once: what one does to the others, in tasks and in threads."""

from __future__ import annotations

import os

import msgspec
import pytest

from lambent.core.invocation import Asked, FunctionError, Status
from lambent.wire.frames import (
    CREDIT_BYTES,
    Answer,
    Begin,
    Call,
    Cancel,
    Chunk,
    Credit,
    Form,
    Input,
    Took,
    cost_of,
    encode,
)
from lambent.wire.process import Runtime
from tests.support.templates import Environment, Gone, Worker
from tests.support.user_code import Serve

ASYNC = """
    import asyncio, os, sys
    entered = 0
    async def handler(event, context):
        global entered
        entered += 1
        if event.get("wait"):
            await asyncio.sleep(3600)
        if event.get("meet"):
            while entered < event["meet"]:
                await asyncio.sleep(0.001)
        return eval(event.get("do", "entered"))
"""
THREADS = """
    import os, sys, threading, time
    entered, turn = 0, threading.Condition()
    def handler(event, context):
        global entered
        with turn:
            entered += 1
            turn.notify_all()
            if event.get("meet"):
                turn.wait_for(lambda: entered >= event["meet"])
        return eval(event.get("do", "entered"))
"""


class Many:
    """Sends calls by number and sorts what comes back."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.answers: dict[int, tuple[Answer, bytes]] = {}
        self.said: list[tuple[object, bytes]] = []

    def send(self, number: int, body: object = None, **changes: object) -> None:
        call = msgspec.structs.replace(Call(number, f"invocation-{number}", 60_000.0), **changes)
        self.worker.write(encode(call, msgspec.json.encode(body if body is not None else {})))

    def tell(self, header: Cancel | Credit | Input, body: bytes = b"") -> None:
        self.worker.write(encode(header, body))

    def hear(self) -> object:
        header, body = self.worker.frame()
        if isinstance(header, Answer):
            assert header.call_id not in self.answers, "answered twice"
            self.answers[header.call_id] = header, body
        else:
            self.said.append((header, body))
        return header

    def answer(self, number: int) -> tuple[Answer, bytes]:
        while number not in self.answers:
            self.hear()
        return self.answers[number]

    def status(self, number: int) -> Status:
        return self.answer(number)[0].status


@pytest.fixture(params=["async", "threads"])
def many(request: pytest.FixtureRequest, serve: Serve) -> Many:
    code, threaded = (ASYNC, False) if request.param == "async" else (THREADS, True)
    return Many(serve(code, concurrency=4, threaded=threaded))


def test_as_many_as_it_has_slots_meet_each_other(many: Many) -> None:
    for number in (1, 2, 3, 4):
        many.send(number, {"meet": 4})
    assert [many.status(number) for number in (1, 2, 3, 4)] == [Status.OK] * 4
    many.send(5)
    assert many.answer(5)[1] == b"5"


@pytest.mark.parametrize(
    ("do", "status", "kind", "exits"),
    [
        ("1 / 0", Status.FAILED, "ZeroDivisionError", None),
        ("next(iter(()))", Status.FAILED, "", None),
        ("sys.exit(3)", Status.EXITED, "Runtime.ExitError", 3),
        ("(_ for _ in ()).throw(MemoryError())", Status.FAILED, "MemoryError", 0),
        ("(_ for _ in ()).throw(KeyboardInterrupt())", Status.FAILED, "KeyboardInterrupt", None),
        ("object()", Status.FAILED, "Runtime.MarshalError", None),
    ],
)
def test_what_one_call_raises_is_its_own_and_the_others_are_finished(
    many: Many, environment: Environment, do: str, status: Status, kind: str, exits: int | None
) -> None:
    for number in (1, 2, 3):
        many.send(number, {"meet": 4})
    many.send(4, {"do": do})
    answer, body = many.answer(4)
    assert (answer.status, answer.retiring) == (status, exits is not None)
    assert msgspec.json.decode(body, type=FunctionError).error_type.startswith(kind)
    assert [many.status(number) for number in (1, 2, 3)] == [Status.OK] * 3
    if exits is not None:
        assert os.waitstatus_to_exitcode(environment.exit_of(many.worker).status) == exits
    else:
        many.send(5)
        assert many.status(5) is Status.OK


def test_a_process_that_user_code_forked_answers_nothing(many: Many) -> None:
    many.send(1, {"do": "os.fork() and 'parent'"})
    assert many.answer(1)[1] == b'"parent"'
    many.send(2, {"do": "os.fork() or 1 / 0"})
    assert many.status(2) is Status.OK
    many.send(3)
    assert many.status(3) is Status.OK


@pytest.mark.parametrize(
    ("child", "exits"),
    [("'child'", {0}), ("1 / 0", {1}), ("sys.exit(7)", {7}), ("(_ for _ in 'nobody reads')", {0, 1})],
)
def test_a_process_that_user_code_forked_ends_with_its_call(many: Many, child: str, exits: set[int]) -> None:
    many.send(1, {"do": f"(lambda pid: os.waitpid(pid, 0)[1] if pid else {child})(os.fork())"})
    answer, body = many.answer(1)
    assert answer.status is Status.OK
    assert os.waitstatus_to_exitcode(int(body)) in exits


@pytest.mark.parametrize("do", ["sys.stdout.close()", "os.close(1)", "os.dup2(0, 2)"])
def test_a_worker_whose_outputs_are_damaged_finishes_what_runs_and_goes(
    many: Many, environment: Environment, do: str
) -> None:
    many.send(1, {"meet": 2})
    many.send(2, {"do": do})
    assert many.answer(1)[0].retiring or many.answer(2)[0].retiring  # whichever is answered first
    assert os.waitstatus_to_exitcode(environment.exit_of(many.worker).status) == 0


def test_what_waits_at_a_worker_that_exits_is_not_started(serve: Serve) -> None:
    many = Many(serve(ASYNC, concurrency=1))
    both = [(Call(1, "first", 60_000.0), b'{"do": "sys.exit()"}'), (Call(2, "second", 60_000.0), b"{}")]
    many.worker.write(
        b"".join(encode(call, body) for call, body in both)
    )  # at once: it is there when it exits
    assert many.status(1) is Status.EXITED
    with pytest.raises(Gone):
        many.answer(2)


SLEEPER = """
    import time
    def handler(event, context):
        if event.get("quick"):
            return event
        try:
            print("begun", flush=True)
            if event.get("busy"):
                while True: pass
            if event.get("stream"):
                return stream()
            for _ in range(10_000): time.sleep(0.01)
        finally:
            print("cleaned", flush=True)
    def stream():
        try:
            while True: yield "x" * 1000
        finally:
            print("closed", flush=True)
"""


@pytest.mark.parametrize("event", [{}, {"busy": True}, {"stream": True}])
def test_code_in_a_thread_hears_of_a_cancellation_and_its_slot_is_free_only_then(
    serve: Serve, event: dict[str, bool]
) -> None:
    many = Many(serve(SLEEPER, concurrency=2, threaded=True))
    for number in (1, 2):
        many.send(number, event)
    many.send(3, {"quick": True})
    while many.worker.log.text().count("begun") < 2:
        pass
    if "stream" in event:
        while sum(cost_of(body) for _, body in many.said) < 2 * CREDIT_BYTES:
            many.hear()
    many.tell(Cancel(1))
    assert many.status(1) is Status.CANCELLED
    assert many.status(3) is Status.OK
    assert 2 not in many.answers
    many.tell(Cancel(2))
    assert many.status(2) is Status.CANCELLED
    assert many.worker.log.text().count("closed" if "stream" in event else "cleaned") == 2
    for number in (4, 5):  # its threads are as good as new
        many.send(number, {"quick": True})
        assert many.status(number) is Status.OK


def test_generators_in_threads_stream_side_by_side_and_in_threads_of_their_own(serve: Serve) -> None:
    many = Many(
        serve(
            """
            import threading
            meeting = threading.Barrier(2)
            def handler(event, context):
                yield threading.current_thread().name
                meeting.wait()
                yield threading.current_thread().name
            """,
            concurrency=2,
            threaded=True,
        )
    )
    many.send(1)
    many.send(2)
    assert [many.status(1), many.status(2)] == [Status.OK, Status.OK]
    names = {
        number: {body for header, body in many.said if isinstance(header, Chunk) and header.call_id == number}
        for number in (1, 2)
    }
    assert [len(names[number]) for number in (1, 2)] == [1, 1]
    assert names[1] != names[2]


ECHO_APP = """
    async def app(scope, receive, send):
        if scope["type"] != "http":
            raise ValueError("http only")
        seen = 0
        while True:
            message = await receive()
            seen += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(seen).encode()})
"""


def test_a_request_that_streams_is_taken_piece_by_piece(serve: Serve) -> None:
    many = Many(serve(ECHO_APP, "app:app", concurrency=8, runtime=Runtime.ASGI))
    many.send(1, {}, more=True)
    for _ in range(50):
        many.tell(Input(1), bytes(10_000))
    many.tell(Input(1, last=True))
    assert many.answer(1)[1] == str(2 + 500_000).encode()
    took = [header for header, _ in many.said if isinstance(header, Took)]
    assert sum(each.size_bytes for each in took) == 50 * cost_of(bytes(10_000))


def test_a_request_that_was_sent_ahead_keeps_the_pieces_that_came_before_its_turn(serve: Serve) -> None:
    many = Many(serve(ECHO_APP, "app:app", concurrency=1, runtime=Runtime.ASGI))
    many.send(1, {}, more=True)
    many.send(2, {}, more=True)
    many.tell(Input(2), b"early")
    many.tell(Input(2, last=True))
    many.tell(Input(1, last=True))
    assert [many.answer(number)[1] for number in (1, 2)] == [b"2", b"7"]


def test_an_answer_that_is_whole_goes_out_before_work_that_nobody_waits_for(serve: Serve) -> None:
    many = Many(
        serve(
            """
            import asyncio
            async def app(scope, receive, send):
                if scope["type"] == "lifespan":
                    raise ValueError
                await receive()
                await send({"type": "http.response.start", "status": 201, "headers": [(b"X-A", b"1")]})
                await send({"type": "http.response.body", "body": b"done"})
                assert (await receive())["type"] == "http.disconnect"
                await asyncio.sleep(3600)
            """,
            "app:app",
            concurrency=2,
            runtime=Runtime.ASGI,
        )
    )
    many.send(1)
    assert isinstance(many.hear(), Begin)
    assert many.hear() == Chunk(1, Form.BYTES, last=True)
    assert many.said[-1][1] == b"done"
    assert not many.answers
    many.tell(Cancel(1))
    assert many.status(1) is Status.CANCELLED


def test_what_an_application_answers_before_it_raises_is_its_answer(serve: Serve) -> None:
    many = Many(
        serve(
            """
            async def app(scope, receive, send):
                await send({"type": "http.response.start", "status": 500, "headers": []})
                await send({"type": "http.response.body", "body": b"sorry"})
                raise ValueError("why")
            """,
            "app:app",
            concurrency=2,
            runtime=Runtime.ASGI,
        )
    )
    many.send(1)
    assert many.status(1) is Status.FAILED
    assert [body for _, body in many.said] == [b"", b"sorry"]


def test_what_is_left_behind_by_a_call_that_is_over_says_nothing_of_it(serve: Serve) -> None:
    many = Many(
        serve(
            """
            import asyncio
            left = []
            async def app(scope, receive, send):
                if scope["type"] == "lifespan":
                    raise ValueError
                if scope["type"] == "websocket":
                    await receive()
                    await send({"type": "websocket.accept"})
                    async def later():
                        await asyncio.sleep(0.01)
                        await send({"type": "websocket.send", "text": "too late"})
                    left.append(asyncio.ensure_future(later()))
                    return
                await asyncio.wait(left)
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": repr(left[0].exception()).encode()})
            """,
            "app:app",
            concurrency=2,
            runtime=Runtime.ASGI,
        )
    )
    asked = Asked("GET", "/", "", "", (), scheme="ws")
    many.send(1, {}, more=True, asked=asked)
    assert many.status(1) is Status.OK
    many.send(2)
    assert b"the call is over" in many.answer(2)[1]
    assert [type(header) for header, _ in many.said] == [Begin]
