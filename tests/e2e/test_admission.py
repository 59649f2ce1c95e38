"""Tenants beside each other on a real server, and callers who say how long they wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.server import RunningServer
from tests.support.tenants import Flood, ask, deploy_as, key_of

CONNECTIONS = 64
CALLS = 40
MIB = 2**20
BODIES_BYTES_MAX = 64 * MIB
BODY_BYTES = 16 * MIB

CODE = """
import os, time

def spin(event, context):
    end_s = time.process_time() + 0.02
    while time.process_time() < end_s:
        pass
    return os.getpid()

def echo(event, context):
    return event

def keep(event, context):
    time.sleep(2)
    return len(event)

def left(event, context):
    left_ms = context.get_remaining_time_in_millis()
    time.sleep(event.get("sleep_s", 0))
    return {"left_ms": left_ms, "pid": os.getpid()}
"""


@pytest.fixture(scope="module")
def flood_key(tmp_path_factory: pytest.TempPathFactory) -> str:
    return key_of(tmp_path_factory.getbasetemp() / "tenants", "flood")


@pytest.fixture(scope="module")
def quiet_key(tmp_path_factory: pytest.TempPathFactory) -> str:
    return key_of(tmp_path_factory.getbasetemp() / "tenants", "quiet")


@pytest.fixture(scope="module")
def tenants(
    tmp_path_factory: pytest.TempPathFactory, flood_key: str, quiet_key: str
) -> Iterator[RunningServer]:
    """A server with a deployment of each kind for both."""
    environ = {
        "LAMBENT_BODIES_BYTES_MAX": f"{BODIES_BYTES_MAX}",
        "LAMBENT_PROJECT_QUEUE_DEPTH_MAX": "40",
    }
    server = RunningServer(tmp_path_factory.getbasetemp() / "tenants", environ).start()
    code = tmp_path_factory.mktemp("code") / "tenants.py"
    code.write_text(CODE)
    for name in ("spin", "echo", "keep", "left"):
        for key in (flood_key, quiet_key):
            deploy_as(server, key, f"{code}:{name}")
    yield server
    assert server.stop() == 0, server.log()


def test_a_flood_of_64_connections_takes_nothing_from_a_quiet_tenant(
    tenants: RunningServer, flood_key: str, quiet_key: str
) -> None:
    async def story() -> None:
        flood = Flood(tenants, flood_key, "/invoke/spin", b"{}")
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CONNECTIONS):
                tasks.create_task(flood.connection())
            statuses, _ = await ask(tenants, quiet_key, "/invoke/spin", CALLS)
            flood.on = False
        assert statuses == [200] * CALLS
        assert set(flood.statuses) == {200, 429}
        assert min(flood.retry_after_s) >= 1
        # A refusal costs the server next to nothing: they are said at their pace.
        assert flood.statuses[200] >= 1

    asyncio.run(story())


def test_a_refusal_says_whose_queue_is_full(tenants: RunningServer, flood_key: str, quiet_key: str) -> None:
    async def story() -> None:
        flood = Flood(tenants, flood_key, "/invoke/spin", b"{}")
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CONNECTIONS):
                tasks.create_task(flood.connection())
            said = tenants.invoke("nothing-of-that-name")
            while said.status != 429:
                said = await asyncio.to_thread(tenants.request, "POST", "/invoke/spin", b"{}", key=flood_key)
            assert (await ask(tenants, quiet_key, "/invoke/echo", 1))[0] == [200]
            flood.on = False
        assert said.json()["code"] == "project_queue_full"
        assert "'flood'" in said.json()["detail"]
        assert int(said.headers["Retry-After"]) >= 1

    asyncio.run(story())


def test_a_flood_of_large_bodies_leaves_the_servers_memory_bounded_and_room_for_others(
    tenants: RunningServer, flood_key: str, quiet_key: str
) -> None:
    process = tenants.process
    assert process is not None

    async def story() -> None:
        flood = Flood(tenants, flood_key, "/invoke/keep", b'"' + b"x" * (BODY_BYTES - 2) + b'"')
        async with asyncio.TaskGroup() as tasks:
            for _ in range(24):
                tasks.create_task(flood.connection())
            statuses, _ = await ask(tenants, quiet_key, "/invoke/echo", 10)
            while not flood.statuses[200]:
                statuses += (await ask(tenants, quiet_key, "/invoke/echo", 1))[0]
            flood.on = False
        assert set(statuses) == {200}
        assert flood.statuses[429] > 0
        assert set(flood.statuses) == {200, 429}

    before_bytes = psutil.Process(process.pid).memory_info().rss
    asyncio.run(story())
    peak_bytes = _peak_bytes(process.pid)
    # All of the bodies would be 384 MiB; what is read, sent on and answered is copied on its way.
    assert peak_bytes - before_bytes < 4 * BODIES_BYTES_MAX


def test_a_callers_deadline_reaches_user_code_ends_it_and_spares_the_worker(
    tenants: RunningServer, quiet_key: str
) -> None:
    def call(body: bytes, timeout_ms: str) -> tuple[int, dict[str, float]]:
        said = tenants.request("POST", "/invoke/left", body, key=quiet_key, Lambent_Timeout_Ms=timeout_ms)
        return said.status, said.json()

    status, first = call(b"{}", "25000")
    assert status == 200
    assert 0 < first["left_ms"] <= 25_000
    status, problem = call(b'{"sleep_s": 30}', "1500")
    assert (status, str(problem["code"])) == (504, "timed_out")
    status, again = call(b"{}", "59000")
    assert status == 200
    assert 25_000 < again["left_ms"] <= 59_000
    assert again["pid"] == first["pid"]


def test_a_deadline_that_is_no_time_is_refused(tenants: RunningServer, quiet_key: str) -> None:
    said = tenants.request("POST", "/invoke/left", b"{}", key=quiet_key, Lambent_Timeout_Ms="soon")
    assert said.status == 400
    assert "Lambent-Timeout-Ms" in said.json()["detail"]


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
