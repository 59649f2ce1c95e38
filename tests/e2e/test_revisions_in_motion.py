"""Deploys under load, canaries and aliases, through the front door of a real server."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3

from lambent.client.client import Client
from lambent.client.errors import FunctionFailed
from lambent.wire.aliases import Canary
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer, wait_until

CONNECTIONS = 20
DEPLOYS = 25
EVERY_S = 0.1
CALLS = 400
CODE = "import os\ndef handler(event, context):\n    return {number}\n"
FAILING = "def handler(event, context):\n    raise ValueError('the new one is broken')\n"

Write = Callable[[str, str], Path]


def client_of(server: RunningServer) -> Client:
    return Client(server.url, server.about["api_key"])


def deploy(client: Client, write: Write, name: str, code: str, canary: Canary | None = None) -> None:
    client.deploy(f"{write('app.py', code)}:handler", name=name, canary=canary)


def test_a_deploy_every_tenth_of_a_second_under_load_loses_no_request(
    server: RunningServer, write: Write
) -> None:
    over = threading.Event()
    seen: Counter[str] = Counter()
    headers = {"authorization": f"Bearer {server.about['api_key']}"}

    def call(_: int) -> None:
        mine: Counter[str] = Counter()
        with urllib3.PoolManager(retries=False) as http:
            while not over.is_set():
                answer = http.request(
                    "POST", f"{server.url}/invoke/moving", body=b"{}", headers=headers, timeout=PATIENT_S
                )
                mine["ok" if answer.status == 200 else answer.data.decode()] += 1
                mine[f"revision {answer.headers['lambent-revision']}"] += 1
        seen.update(mine)

    with client_of(server) as client, ThreadPoolExecutor(CONNECTIONS) as load:
        deploy(client, write, "moving", CODE.format(number=0))
        calls = [load.submit(call, number) for number in range(CONNECTIONS)]
        try:
            for number in range(1, DEPLOYS + 1):
                due_s = time.monotonic() + EVERY_S
                deploy(client, write, "moving", CODE.format(number=number))
                over.wait(max(0.0, due_s - time.monotonic()))
        finally:
            over.set()
        for one in calls:
            one.result(PATIENT_S)
        assert client.invoke("moving") == DEPLOYS
        client.remove("moving")
    answers = {what: count for what, count in seen.items() if not what.startswith("revision")}
    assert set(answers) == {"ok"}, answers
    assert sum(what.startswith("revision") for what in seen) > DEPLOYS / 3


def test_a_canary_gets_its_share_and_the_same_callers_keep_it(server: RunningServer, write: Write) -> None:
    with client_of(server) as client:
        deploy(client, write, "shared", CODE.format(number=1))
        deploy(client, write, "shared", CODE.format(number=2), Canary(percent=20, sticky_header="X-User"))

        def answer(user: str = "") -> int:
            headers = {"x-user": user} if user else {}
            return int(client.call("shared", b"{}", headers=headers).value)

        share = sum(answer() == 2 for _ in range(CALLS)) / CALLS
        assert abs(share - 0.2) <= 4.5 * (0.2 * 0.8 / CALLS) ** 0.5
        users = [f"user {number}" for number in range(60)]
        tried = {user for user in users if answer(user) == 2}
        assert {user for user in users if answer(user) == 2} == tried
        client.aliases.promote("shared", percent=60)
        assert tried < {user for user in users if answer(user) == 2}
        client.aliases.promote("shared")
        assert {answer(user) for user in users} == {2}
        assert client.rollback("shared").number == 1
        assert {answer(user) for user in users} == {1}


def test_aliases_answer_with_their_revisions_whatever_is_deployed(
    server: RunningServer, write: Write
) -> None:
    with client_of(server) as client:
        for number in (1, 2, 3):
            deploy(client, write, "named", CODE.format(number=number))
        client.aliases.put("named", "prod", 1)
        client.aliases.put("named", "next", "2:0,3:100")
        deploy(client, write, "named", CODE.format(number=4))
        assert [client.invoke("named", alias=alias) for alias in ("prod", "next", "")] == [1, 3, 4]
        assert server.request("POST", "/invoke/named?alias=prod", b"{}").json() == 1
        handle = client.submit("named", {}, alias="prod")
        assert handle.result(timeout_s=PATIENT_S) == 1
        assert server.cli("alias", "named", "ls").stdout.count("\n") == 3
        client.aliases.remove("named", "prod")
        assert server.request("POST", "/invoke/named?alias=prod", b"{}").status == 404


def test_a_canary_that_fails_goes_back_by_itself_and_says_why(server: RunningServer, write: Write) -> None:
    with client_of(server) as client:
        deploy(client, write, "broken", CODE.format(number=1))
        deploy(client, write, "broken", FAILING, Canary(percent=50))
        failures = 0

        def over() -> bool:
            nonlocal failures
            try:
                client.invoke("broken", {})
            except FunctionFailed:
                failures += 1
            return client.aliases.all("broken")[0].candidate is None

        wait_until(over, "the canary to go back")
        [own] = client.aliases.all("broken")
        assert "revision 2 went back" in own.note
        assert {client.invoke("broken", {}) for _ in range(30)} == {1}
        assert 3 <= failures < 60


def test_a_canary_takes_over_by_itself_after_it_was_well_for_long_enough(
    server: RunningServer, write: Write
) -> None:
    with client_of(server) as client:
        deploy(client, write, "well", CODE.format(number=1))
        deploy(client, write, "well", CODE.format(number=2), Canary(percent=50, promote_after_s=1))
        wait_until(lambda: client.invoke("well", {}) and not client.aliases.all("well"), "the promotion")
        assert {client.invoke("well", {}) for _ in range(30)} == {2}


@pytest.fixture
def mortal(tmp_path: Path) -> RunningServer:
    """A server that the test kills."""
    return RunningServer(tmp_path / "state").start()


def test_a_killed_server_has_its_canaries_and_aliases_again(mortal: RunningServer, write: Write) -> None:
    with client_of(mortal) as client:
        deploy(client, write, "kept", CODE.format(number=1))
        deploy(client, write, "kept", CODE.format(number=2))
        client.aliases.put("kept", "prod", 1)
        deploy(client, write, "kept", CODE.format(number=3), Canary(percent=30, sticky_header="X-User"))
        users = [f"user {number}" for number in range(40)]
        before = {user: client.call("kept", b"{}", headers={"x-user": user}).value for user in users}
        assert set(before.values()) == {2, 3}
    mortal.kill()
    mortal.start()
    with client_of(mortal) as client:
        after = {user: client.call("kept", b"{}", headers={"x-user": user}).value for user in users}
        assert after == before
        assert client.invoke("kept", {}, alias="prod") == 1
        assert {one.name: one.candidate for one in client.aliases.all("kept")} == {"": 3, "prod": None}
    assert mortal.stop() == 0
