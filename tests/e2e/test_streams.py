"""Answers that stream, through the front door: bytes as they come, slow readers, clients that leave."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import PATIENT_S
from tests.support.raw_http import Raw
from tests.support.server import RunningServer, wait_until

Write = Callable[[str, str], Path]
MIB = 1 << 20

GATED = """
import os, time
def handler(event, context):
    yield "first "
    with open(event["gate"]) as gate:
        gate.read()
    yield "second"
"""
PIECES = """
def handler(event, context):
    for piece in event:
        if piece == "fail":
            raise ValueError("no more")
        yield bytes.fromhex(piece[1:]) if isinstance(piece, str) and piece.startswith("#") else piece
"""
FLOOD = """
def handler(event, context):
    try:
        for _ in range(event["mib"]):
            yield bytes(1 << 20)
    finally:
        with open(event["left"], "w") as left:
            left.write("left")
"""
SLEEPS = """
import time
def handler(event, context):
    try:
        open(event["begun"], "w").close()
        time.sleep(3600)
    finally:
        open(event["left"], "w").close()
"""
ASYNC_SLEEPS = """
import asyncio
async def handler(event, context):
    try:
        open(event["begun"], "w").close()
        await asyncio.sleep(3600)
    finally:
        open(event["left"], "w").close()
"""


def deploy(server: RunningServer, write: Write, name: str, code: str, *words: str) -> None:
    server.deploy(f"{write(f'{name}.py', code)}:handler", "--name", name, *words)


def usage(server: RunningServer, name: str) -> dict[str, Any]:
    lines = server.request("GET", "/api/v1/usage").json()["lines"]
    return next((line for line in lines if line["deployment"] == name), {"invocations": 0})


def test_the_first_bytes_are_not_held_back(server: RunningServer, write: Write, tmp_path: Path) -> None:
    deploy(server, write, "gated", GATED)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with Raw(server) as raw:
        raw.ask("POST", "/invoke/gated", {"gate": str(gate)})
        status, headers = raw.answered()
        chunks = raw.chunks()
        assert next(chunks) == b"first "  # user code cannot go on before the gate opens
        assert status == 200
        told = dict(headers)
        assert told["content-type"].startswith("text/plain")
        assert told["transfer-encoding"] == "chunked"
        assert told["lambent-invocation-id"]
        with gate.open("w"):
            pass
        assert b"".join(chunks) == b"second"
        raw.ask("POST", "/invoke/gated", {"gate": "/dev/null"})  # the connection is as good as new
        assert raw.answered()[0] == 200
        assert b"".join(raw.chunks()) == b"first second"


@pytest.mark.parametrize(
    ("pieces", "kind", "body"),
    [
        (["a", "ü", ""], "text/plain; charset=utf-8", "aü".encode()),
        ([{"a": 1}, [2], "x"], "application/x-ndjson", b'{"a":1}\n[2]\n"x"\n'),
        (["#00ff", "#10"], "application/octet-stream", b"\x00\xff\x10"),
        ([], "application/octet-stream", b""),
    ],
)
def test_what_is_yielded_says_what_is_sent(
    server: RunningServer, write: Write, pieces: list[object], kind: str, body: bytes
) -> None:
    deploy(server, write, "pieces", PIECES)
    answer = server.invoke("pieces", pieces)
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, kind, body)


def test_who_accepts_events_gets_each_piece_as_one(server: RunningServer, write: Write) -> None:
    deploy(server, write, "events", PIECES)
    answer = server.invoke("events", ["one\ntwo", {"three": 3}], Accept="text/event-stream")
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.body == b'data: one\ndata: two\n\ndata: {"three":3}\n\n'
    broken = server.invoke("events", ["one", "fail"], Accept="text/event-stream").body.decode()
    first, last, _ = broken.split("\n\n")
    assert first == "data: one"
    assert last.startswith("event: error\ndata: ")
    assert json.loads(last.partition("data: ")[2])["errorMessage"] == "no more"


def test_an_error_in_the_middle_cuts_the_answer_off_and_one_before_it_is_an_error(
    server: RunningServer, write: Write
) -> None:
    deploy(server, write, "breaks", PIECES)
    with Raw(server) as raw:
        raw.ask("POST", "/invoke/breaks", ["one", "fail"])
        assert raw.answered()[0] == 200
        chunks = raw.chunks()
        assert next(chunks) == b"one"
        with pytest.raises(ConnectionError):
            next(chunks)
    early = server.invoke("breaks", ["fail"])
    assert (early.status, early.json()["error_type"]) == (500, "ValueError")
    wait_until(lambda: usage(server, "breaks").get("failed") == 2, "both on the bill")


def test_other_doors_take_a_stream_as_a_whole(server: RunningServer, write: Write) -> None:
    deploy(server, write, "whole", PIECES)
    answer = server.request(
        "POST", "/2015-03-31/functions/whole/invocations", json.dumps(["a", {"b": 1}]).encode()
    )
    assert (answer.status, answer.json()) == (200, ["a", {"b": 1}])
    failed = server.request(
        "POST", "/2015-03-31/functions/whole/invocations", json.dumps(["a", "fail"]).encode()
    )
    assert failed.headers["X-Amz-Function-Error"] == "Unhandled"
    assert failed.json()["errorMessage"] == "no more"
    later = server.invoke("whole", [1, 2], Prefer="respond-async")
    where = later.headers["Location"]
    wait_until(lambda: server.request("GET", where).status == 200, "the result")
    assert server.request("GET", where).json() == [1, 2]
    keyed = [server.invoke("whole", ["x"], Idempotency_Key="k").body for _ in range(2)]
    assert keyed == [b"x", b"x"]


def test_a_slow_reader_costs_nobody_memory_and_gets_everything(
    server: RunningServer, write: Write, tmp_path: Path
) -> None:
    deploy(server, write, "flood", FLOOD)
    left = tmp_path / "left"
    event = {"mib": 200, "left": str(left)}
    with Raw(server) as raw:
        raw.ask("POST", "/invoke/flood", {"mib": 1, "left": str(left)})  # all is warm
        raw.answered()
        assert sum(map(len, raw.chunks())) == MIB
        left.unlink()
        before = memory(server)
        raw.ask("POST", "/invoke/flood", event)
        raw.answered()
        chunks = raw.chunks()
        seen = len(next(chunks))
        steady = 0
        while steady < 10:  # until the worker has been blocked for a while
            cpu_s = sum(process.cpu_times().user for process in server.processes())
            time.sleep(0.02)
            still = sum(process.cpu_times().user for process in server.processes()) == cpu_s
            steady = steady + 1 if still else 0
        assert not left.exists()
        grown = {pid: used - before.get(pid, used) for pid, used in memory(server).items()}
        assert max(grown.values()) < 40 * MIB, grown
        seen += sum(map(len, chunks))
    assert seen == 200 * MIB
    assert left.exists()
    grown = {pid: used - before.get(pid, used) for pid, used in memory(server).items()}
    assert max(grown.values()) < 40 * MIB, grown


def memory(server: RunningServer) -> dict[int, int]:
    return {process.pid: process.memory_info().rss for process in server.processes()}


@pytest.mark.parametrize("leave", ["close", "vanish"])
def test_a_stream_whose_client_leaves_is_ended_and_cleaned_up(
    server: RunningServer, write: Write, tmp_path: Path, leave: str
) -> None:
    name = f"left-{leave}"
    deploy(server, write, name, FLOOD)
    left = tmp_path / "left"
    raw = Raw(server)
    raw.ask("POST", f"/invoke/{name}", {"mib": 100_000, "left": str(left)})
    assert raw.answered()[0] == 200
    next(raw.chunks())
    getattr(raw, leave)()
    wait_until(left.exists, "the finally of user code")
    wait_until(lambda: usage(server, name)["invocations"] == 1, "the bill")
    assert usage(server, name)["failed"] == 1
    wait_until(lambda: server.deployment(name)["workers"] == 1, "its worker, which goes on")
    assert server.invoke(name, {"mib": 1, "left": str(left)}).status == 200


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param(SLEEPS, (), id="sync"),
        pytest.param(ASYNC_SLEEPS, (), id="async"),
        pytest.param(
            SLEEPS.replace("time.sleep(3600)", "[time.sleep(0.01) for _ in range(360_000)]"),
            ("--set", "concurrency=4", "--set", "parallel=threads"),
            id="threads",
        ),
    ],
)
def test_a_client_that_leaves_ends_the_code_that_nobody_waits_for(
    server: RunningServer, write: Write, tmp_path: Path, code: str, words: tuple[str, ...]
) -> None:
    name = f"sleeps-{len(words)}-{'async' in code}".lower()
    deploy(server, write, name, code, *words)
    for number in range(3):
        begun, left = tmp_path / f"begun{number}", tmp_path / f"left{number}"
        raw = Raw(server)
        raw.ask("POST", f"/invoke/{name}", {"begun": str(begun), "left": str(left)})
        wait_until(begun.exists, "user code")
        raw.close()
        wait_until(left.exists, "the finally of user code")
    wait_until(lambda: usage(server, name)["invocations"] == 3, "the bill")
    assert usage(server, name)["failed"] == 3


MEET = """
import asyncio
here = 0
async def handler(event, context):
    global here
    here += 1
    while here < event["meet"]:
        await asyncio.sleep(0.001)
    yield str(here)
"""
MEET_THREADS = """
import threading
def handler(event, context):
    barrier.wait()
    yield "met"
"""


def test_fifty_calls_meet_in_one_worker(server: RunningServer, write: Write) -> None:
    deploy(server, write, "meet", MEET, "--set", "concurrency=50", "--set", "workers_max=1")
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda _: server.invoke("meet", {"meet": 50}), range(50)))
    assert {answer.status for answer in answers} == {200}
    assert server.deployment("meet")["workers"] == 1


def test_sync_calls_meet_in_threads_of_one_worker(server: RunningServer, write: Write) -> None:
    code = MEET_THREADS + "barrier = threading.Barrier(8)\n"
    words = ("--set", "concurrency=8", "--set", "parallel=threads", "--set", "workers_max=1")
    deploy(server, write, "threads", code, *words)
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: server.invoke("threads", {}), range(8)))
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"met")}


def test_sync_code_is_not_run_side_by_side_unless_it_is_said_that_it_may(
    server: RunningServer, write: Write
) -> None:
    code = "def handler(event, context):\n    return 1\n"
    path = write("refused.py", code)
    done = server.cli("deploy", f"{path}:handler", "--name", "refused", "--set", "concurrency=2")
    assert done.returncode != 0
    assert "parallel=threads" in done.stderr


def test_a_call_over_its_time_is_told_and_its_neighbours_are_not(
    server: RunningServer, write: Write, tmp_path: Path
) -> None:
    deploy(server, write, "slow", ASYNC_SLEEPS, "--set", "concurrency=2", "--set", "timeout_s=1")
    left = tmp_path / "left"
    answer = server.invoke("slow", {"begun": str(tmp_path / "begun"), "left": str(left)})
    assert (answer.status, answer.json()["code"]) == (504, "timed_out")
    assert left.exists()
    assert server.deployment("slow")["workers"] == 1


def test_a_server_that_stops_finishes_a_stream(tmp_path: Path, write: Write) -> None:
    server = RunningServer(tmp_path / "state").start()
    deploy(server, write, "gated", GATED)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with Raw(server) as raw:
        raw.ask("POST", "/invoke/gated", {"gate": str(gate)})
        raw.answered()
        chunks = raw.chunks()
        assert next(chunks) == b"first "
        ending = threading.Thread(target=server.stop)
        ending.start()
        wait_until(lambda: server.request("GET", "/readyz").status == 503, "the drain")
        with gate.open("w"):
            pass
        assert b"".join(chunks) == b"second"
        ending.join(PATIENT_S)
