"""Functions that call functions, on a real server: the example, deaths, deploys, large and many."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import RunningServer, wait_until

Write = Callable[[str, str], Path]
EXAMPLE = Path(__file__).parents[2] / "examples" / "composed" / "app.py"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
BIG = 20_000_000

CODE = """
import asyncio, os, pathlib, time
import lambent
app = lambent.App("many")

@app.function()
def caller(event, context):
    if "me" in event:
        pathlib.Path(event["me"]).write_text(str(os.getpid()))
    pending = lambent.call(event["name"], event.get("payload"), timeout_s=event.get("timeout_s"))
    try:
        return {"result": pending.result()}
    except lambent.CallFailed as error:
        return {"deployment": error.deployment, "kind": error.kind, "message": str(error)}

@app.function(timeout_s=600)
def slow(event, context):
    pathlib.Path(event["begun"]).write_text(str(os.getpid()))
    try:
        while not pathlib.Path(event["gate"]).exists():
            time.sleep(0.01)
    finally:
        pathlib.Path(event["begun"] + ".left").touch()
    return "VERSION"

@app.function(memory="512MiB")
def back(event, context):
    return event[::-1] if isinstance(event, bytes) else event

@app.function(memory="512MiB", timeout_s=120)
def big(event, context):
    sent = b"a" + bytes(event["size"])
    got = lambent.call("back", sent).result()
    return [len(got), got == sent[::-1]]

@app.function(concurrency=20)
async def leaf(event, context):
    await asyncio.sleep(0.001)
    return event["n"]

@app.function(timeout_s=300)
async def crowd(event, context):
    return sum(await asyncio.gather(*(lambent.call("leaf", {"n": n}) for n in range(event["count"]))))

@app.function(timeout_s=300)
def crowd_in_turn(event, context):
    made = [lambent.call("leaf", {"n": n}) for n in range(event["count"])]
    return sum(one.result() for one in made)

@app.function(timeout_s=300, concurrency=4, parallel="threads")
def crowd_in_threads(event, context):
    made = [lambent.call("leaf", {"n": n}) for n in range(event["count"])]
    return sum(one.result() for one in made)

@app.function()
def poured(event, context):
    for number in range(3):
        yield {"n": number}

@app.model(max_batch=16)
class Doubles:
    def load(self, model=None):
        pass
    def predict(self, inputs):
        return {"y": lambent.call("back", {"x": inputs["x"]}).result()["x"] * 2}

@app.job(timeout_s=300)
def asking(run):
    trace = lambent.trace().trace_id
    inner = lambent.call("traced", {}).result()
    try:
        lambent.call(run.params["name"]).result()
        said = ""
    except lambent.CallFailed as error:
        said = error.kind
    run.log(message=f"{trace == inner} {said}")

@app.function()
def raises(event, context):
    raise KeyError("no")

@app.function()
def traced(event, context):
    return lambent.trace().trace_id
"""


@pytest.fixture(scope="module")
def composed(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> RunningServer:
    path = tmp_path_factory.mktemp("app") / "app.py"
    path.write_text(CODE)
    server.deploy(path)
    server.deploy(EXAMPLE)
    return server


def usage(server: RunningServer) -> Counter[str]:
    lines = json.loads(server.cli("usage", "--json").stdout)["lines"]
    return Counter({line["deployment"]: line["invocations"] for line in lines})


def started(pool: ThreadPoolExecutor, server: RunningServer, folder: Path, **event: Any) -> tuple[Any, int]:
    """A caller that waits for `slow`, and the process that it waits for."""
    begun, gate = folder / "begun", folder / "gate"
    payload = {"begun": str(begun), "gate": str(gate)}
    asking = pool.submit(server.invoke, "caller", {"name": "slow", "payload": payload, **event})
    wait_until(lambda: begun.exists() and begun.read_text(), "the callee to begin")
    return asking, int(begun.read_text())


def test_the_example_does_what_it_says_in_one_trace_and_all_of_it_is_metered(composed: RunningServer) -> None:
    before = usage(composed)
    reply = composed.invoke(
        "page",
        {"reviews": ["Good, really good!", "bad", "so so"]},
        traceparent=f"00-{TRACE}-00f067aa0ba902b7-01",
        tracestate="a=1",
    )
    assert reply.json() == {"scores": [2, -1, 0], "failed": [], "trace_id": TRACE}
    assert reply.headers["traceresponse"].startswith(f"00-{TRACE}-")
    wait_until(
        lambda: usage(composed) - before == Counter(page=1, judge=3, words=3),
        "the ledger to read the journal",
    )
    assert composed.invoke("best", {"reviews": ["bad", "good", "fine, good"]}).json() == "fine, good"


def test_a_trace_that_begins_here_is_told_to_the_caller(composed: RunningServer) -> None:
    reply = composed.invoke("judge", {"text": "good"}, traceparent="00-nonsense-01")
    began = reply.headers["traceresponse"].split("-")[1]
    assert began == reply.headers["lambent-invocation-id"].replace("-", "")
    assert reply.json() == {"score": 1, "trace_id": began}


def test_what_is_missing_and_what_goes_round_is_told_at_once(composed: RunningServer) -> None:
    said = composed.invoke("caller", {"name": "nowhere"}).json()
    assert (said["deployment"], said["kind"]) == ("nowhere", "Lambent.NotFound")


def test_a_callee_that_is_killed_is_an_error_of_a_clear_kind_and_the_next_call_is_served(
    composed: RunningServer, tmp_path: Path
) -> None:
    with ThreadPoolExecutor() as pool:
        asking, pid = started(pool, composed, tmp_path)
        os.kill(pid, signal.SIGKILL)
        said = asking.result().json()
        assert (said["deployment"], said["kind"]) == ("slow", "Runtime.ExitError")
        assert "SIGKILL" in said["message"]
        (tmp_path / "gate").touch()
        again = {"name": "slow", "payload": {"begun": str(tmp_path / "b"), "gate": str(tmp_path / "gate")}}
        assert composed.invoke("caller", again).json() == {"result": "VERSION"}


def test_a_caller_that_is_killed_takes_along_what_it_waits_for(
    composed: RunningServer, tmp_path: Path
) -> None:
    with ThreadPoolExecutor() as pool:
        asking, _ = started(pool, composed, tmp_path, me=str(tmp_path / "me"))
        os.kill(int((tmp_path / "me").read_text()), signal.SIGKILL)
        assert asking.result().status >= 500
        wait_until((tmp_path / "begun.left").exists, "the callee to be left")


def test_who_is_too_late_is_told_so_and_its_worker_is_left_alive(
    composed: RunningServer, tmp_path: Path
) -> None:
    payload = {"begun": str(tmp_path / "begun"), "gate": str(tmp_path / "gate")}
    said = composed.invoke("caller", {"name": "slow", "payload": payload, "timeout_s": 0.5}).json()
    assert said["kind"] == "Lambent.DeadlinePassed"
    assert "timeout_s=0.5 of lambent.call" in said["message"]
    wait_until(
        lambda: (tmp_path / "begun.left").exists() or not (tmp_path / "begun").exists(),
        "the callee to be left",
    )


def test_the_deadline_of_the_first_caller_is_that_of_all(composed: RunningServer, tmp_path: Path) -> None:
    payload = {"begun": str(tmp_path / "begun"), "gate": str(tmp_path / "gate")}
    reply = composed.invoke("caller", {"name": "slow", "payload": payload}, lambent_timeout_ms="700")
    assert reply.status >= 500
    wait_until(
        lambda: (tmp_path / "begun.left").exists() or not (tmp_path / "begun").exists(),
        "the callee to be left",
    )


def test_a_deploy_of_the_callee_in_the_middle_fails_nobody(composed: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "app.py"
    with ThreadPoolExecutor() as pool:
        asking, _ = started(pool, composed, tmp_path)
        path.write_text(CODE.replace("VERSION", "second"))
        composed.deploy(path)
        (tmp_path / "gate").touch()
        assert asking.result().json() == {"result": "VERSION"}
    again = {"name": "slow", "payload": {"begun": str(tmp_path / "b"), "gate": str(tmp_path / "gate")}}
    assert composed.invoke("caller", again).json() == {"result": "second"}
    path.write_text(CODE)
    composed.deploy(path)


def test_large_payloads_go_both_ways(composed: RunningServer) -> None:
    assert composed.invoke("big", {"size": BIG}).json() == [BIG + 1, True]


@pytest.mark.parametrize("name", ["crowd", "crowd-in-turn", "crowd-in-threads"])
def test_a_thousand_at_once_are_all_answered(composed: RunningServer, name: str) -> None:
    assert composed.invoke(name, {"count": 1000}).json() == sum(range(1000))


def test_a_stream_is_collected_and_a_model_may_call(composed: RunningServer) -> None:
    assert composed.invoke("caller", {"name": "poured"}).json() == {"result": [{"n": 0}, {"n": 1}, {"n": 2}]}
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda x: composed.invoke("doubles", {"x": x}), range(64)))
    assert [reply.json() for reply in replies] == [{"y": 2 * x} for x in range(64)]


def test_a_job_calls_others_in_its_own_trace(composed: RunningServer) -> None:
    before = usage(composed)
    done = composed.cli("run", "many-asking", "-p", "name=raises", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["message"] == "True KeyError"
    wait_until(
        lambda: usage(composed) - before == Counter({"many-asking": 1, "traced": 1, "raises": 1}),
        "the ledger to read the journal",
    )


def test_a_job_that_calls_a_job_starts_a_run_of_it_and_hears_how_that_ended(composed: RunningServer) -> None:
    done = composed.cli("run", "many-asking", "-p", "name=many-asking", "--json")
    asked = json.loads(done.stdout)
    assert asked["message"] == "True failed"
    [child] = composed.request("GET", f"/api/v1/runs?parent={asked['run']}").json()
    assert (child["job"], child["exit"]) == ("many-asking", "failed")
    assert "name" in child["reason"]  # it was given no parameters, and asks for one
