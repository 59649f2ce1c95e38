"""Jobs that start runs, on a real server: in order, with failures told apart, across kills, and cancelled."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lambent
from lambent.wire.runs import RunView
from tests.support.server import RunningServer, wait_until

JOBS = """
import os, pathlib, time
import lambent

app = lambent.App("maps")

@app.job(retries=0, grace_s=0.5)
def square(run):
    if run.params.x == run.params.get("bad"):
        raise ValueError("not this one")
    if (gate := run.params.get("gate")) and run.params.x > 0:
        while not pathlib.Path(gate).exists():
            time.sleep(0.01)
    if log := run.params.get("log"):
        with open(log, "a") as file:
            file.write(f"{run.params.x}\\n")
    return run.params.x ** 2

@app.job
def total(run):
    items = [{**run.params.get("item", {}), "x": x} for x in range(run.params.n)]
    mapped = run.map("maps-square", items)
    first = next(iter(mapped)).value
    pathlib.Path(run.params.begun).write_text(str(os.getpid()))
    return {"first": first, "sum": sum(mapped.values()), "count": len(mapped)}

@app.job
def told(run):
    ends = list(run.map("maps-square", [{"x": x, "bad": 2} for x in range(4)]))
    try:
        run.map("maps-nothing", [{}])
        nothing = ""
    except lambent.CallFailed as error:
        nothing = error.kind
    return [[end.index, end.error.kind if end.error else end.value] for end in ends] + [nothing]

@app.job
def calls(run):
    try:
        lambent.call("maps-square", {"x": 1, "bad": 1}).result()
    except lambent.CallFailed as error:
        return [lambent.call("maps-square", {"x": 7}).result(), error.kind, str(error)]

@app.job(workers_max=2)
def deep(run):
    if run.params.depth == 0:
        return 1
    below = [{"depth": run.params.depth - 1}] * 3
    return sum(run.map("maps-deep", below).values())
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("state")).start()
    code = tmp_path_factory.mktemp("code") / "maps.py"
    code.write_text(JOBS)
    running.deploy(code)
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture
def client(server: RunningServer) -> Iterator[lambent.Client]:
    with connected(server) as made:
        yield made


def connected(server: RunningServer) -> lambent.Client:
    return lambent.Client(server.url, server.about["api_key"])


def until(client: lambent.Client, run: str, true: Callable[[RunView], bool]) -> RunView:
    wait_until(lambda: true(client.show_run(run)), f"run {run}")
    return client.show_run(run)


def ended(client: lambent.Client, job: str, **params: Any) -> RunView:
    run = client.run(f"maps-{job}", params).run
    return until(client, run, lambda one: one.ended_unix_ms is not None)


def test_a_client_gets_what_each_run_returned_in_the_order_of_its_items(client: lambent.Client) -> None:
    mapped = client.map_runs("maps-square", ({"x": x} for x in range(20)))
    assert mapped.values() == [x**2 for x in range(20)]
    assert [client.show_run(run).index for run in mapped.runs] == list(range(20))


def test_of_a_map_with_failures_the_others_have_their_values(client: lambent.Client) -> None:
    mapped = client.map_runs("maps-square", [{"x": x, "bad": 1} for x in range(3)])
    said = "1 of 3 runs failed, the first is number 1.*not this one"
    with pytest.raises(lambent.MapFailed, match=said) as seen:
        mapped.values()
    assert [one.error is None for one in seen.value.ended] == [True, False, True]
    assert [one.value for one in mapped if one.error is None] == [0, 4]


def test_a_map_that_is_sent_twice_under_a_key_is_one(client: lambent.Client) -> None:
    once, again = (client.map_runs("maps-square", [{"x": 3}, {"x": 4}], key="once") for _ in range(2))
    assert once.runs == again.runs
    assert again.values() == [9, 16]


def test_a_map_of_what_is_no_job_starts_nothing(client: lambent.Client) -> None:
    with pytest.raises(lambent.ApiError, match="there is no job"):
        client.map_runs("nothing", [{}])


def test_a_job_sees_which_of_its_runs_failed(client: lambent.Client) -> None:
    end = ended(client, "told")
    assert (end.state, end.reason) == ("succeeded", "")
    assert end.result == [[0, 0], [1, 1], [2, "failed"], [3, 9], "Lambent.NotFound"]


def test_a_job_that_is_called_gives_what_it_returned(client: lambent.Client) -> None:
    end = ended(client, "calls")
    assert (end.state, end.reason) == ("succeeded", "")
    assert end.result[:2] == [49, "failed"]
    assert "ValueError: not this one" in end.result[2]


def test_jobs_that_wait_for_runs_of_their_own_kind_do_not_take_their_places(client: lambent.Client) -> None:
    runs = [client.run("maps-deep", {"depth": 2}).run for _ in range(4)]
    ends = [until(client, run, lambda one: one.ended_unix_ms is not None) for run in runs]
    assert [(end.state, end.result) for end in ends] == [("succeeded", 9)] * 4


@pytest.mark.parametrize("dies", ["worker", "server"])
def test_a_job_that_goes_on_after_a_kill_finds_the_runs_that_it_has_started(
    server: RunningServer, client: lambent.Client, tmp_path: Path, dies: str
) -> None:
    gate, log, begun = tmp_path / "gate", tmp_path / "log", tmp_path / "begun"
    # Three, so that there is a place left for the job itself: it takes one again before they are over.
    params = {"n": 3, "begun": str(begun), "item": {"log": str(log), "gate": str(gate)}}
    run = client.run("maps-total", params).run
    wait_until(lambda: begun.exists() and begun.read_text(), "the first of its runs")
    if dies == "server":
        server.kill()
        server.start()
    else:
        os.kill(int(begun.read_text()), signal.SIGKILL)
    with connected(server) as again:
        until(again, run, lambda one: one.slices == 2)
        gate.touch()
        end = until(again, run, lambda one: one.ended_unix_ms is not None)
        assert len(again.runs(parent=run)) == 3
    assert (end.state, end.reason) == ("succeeded", "")
    assert end.result == {"first": 0, "sum": 5, "count": 3}
    assert sorted(log.read_text().split()) == list("012")


def test_who_cancels_a_job_cancels_the_runs_that_it_waits_for(client: lambent.Client, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    params = {"n": 6, "begun": str(begun), "item": {"gate": str(tmp_path / "never")}}
    run = client.run("maps-total", params).run
    wait_until(lambda: len(client.runs(parent=run)) == 6, "its runs")
    client.cancel_run(run)
    assert until(client, run, lambda one: one.ended_unix_ms is not None).state == "cancelled"
    # The first has no gate to wait at, and may have been quicker.
    gated = [one.run for one in client.runs(parent=run) if one.index]
    wait_until(lambda: all(client.show_run(one).state == "cancelled" for one in gated), "their ends")
