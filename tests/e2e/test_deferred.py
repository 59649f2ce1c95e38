"""Asynchronous invocations by hand: client, command, dead letters, webhooks, and a server that is killed."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

import lambent
from lambent.client.client import Client
from lambent.client.errors import ApiError
from lambent.client.handles import SomeFailed, TimedOut
from lambent.core.errors import LambentError
from tests.support.patience import PATIENT_S
from tests.support.receiver import Receiver
from tests.support.server import RunningServer, wait_until

pytestmark = pytest.mark.timeout(300)

CODE = """
import os, time
import lambent

def handler(event, context):
    try:
        if event.get("begun"):
            open(event["begun"], "w").close()
        time.sleep(event.get("s", 0))
    except lambent.Cancelled:
        os.rename(event["begun"], event["begun"] + ".cancelled")
        raise
    if event.get("log"):
        with open(event["log"], "a") as file:
            file.write(f"{event['n']}\\n")
    if event.get("broken") and not os.path.exists(event["broken"]):
        raise ValueError(f"broken {event.get('n')}")
    return event
"""
SEED = 7
KILLS = 4
EVENTS = 120


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path / "state").start()
    (tmp_path / "app.py").write_text(CODE)
    running.deploy(
        f"{tmp_path / 'app.py'}:handler",
        "--name",
        "work",
        "--set",
        "retries=1",
        "--set",
        "retry_first_s=0.05",
    )
    yield running
    if running.process is not None and running.process.poll() is None:
        assert running.stop() == 0, running.log()


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.url, server.about["api_key"]) as made:
        yield made


def cli(server: RunningServer, *words: str) -> Any:
    done = server.cli(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_handle_waits_for_its_result_says_how_far_it_is_and_cancels(client: Client) -> None:
    slow = client.submit("work", {"s": 1, "n": 1}, order_key="k")
    behind = client.submit("work", {"n": 2}, order_key="k")
    status = behind.status()
    assert getattr(status, "state", "") == "queued"
    with pytest.raises(TimedOut, match="goes on"):
        behind.result(timeout_s=0.05)
    assert behind.cancel()
    assert slow.result(PATIENT_S) == {"s": 1, "n": 1}
    assert not slow.cancel()
    with pytest.raises(lambent.FunctionFailed, match="cancelled"):
        behind.result()
    again = client.submit("work", {"n": 3}, idempotency_key="once")
    assert client.submit("work", {"n": 3}, idempotency_key="once").id == again.id
    assert client.handle(again.id).result(PATIENT_S) == {"n": 3}


def test_one_that_runs_is_cancelled_by_the_client_and_by_the_command(
    server: RunningServer, client: Client, tmp_path: Path
) -> None:
    for place, cancel in enumerate((lambda one: one.cancel(), lambda one: cli(server, "cancel", one.id))):
        begun = tmp_path / f"begun-{place}"
        slow = client.submit("work", {"s": 600, "n": 1, "begun": str(begun)}, order_key="k")
        behind = client.submit("work", {"n": 2}, order_key="k")
        wait_until(begun.exists, "it to run")
        assert cancel(slow)
        with pytest.raises(lambent.FunctionFailed, match="cancelled while it ran"):
            slow.result(PATIENT_S)
        assert behind.result(PATIENT_S) == {"n": 2}
        assert begun.with_name(begun.name + ".cancelled").exists()
    total = cli(server, "usage")["total"]
    assert (total["invocations"], total["failed"]) == (4, 2)
    server.kill()
    server.start()
    with Client(server.url, server.about["api_key"]) as again, pytest.raises(lambent.FunctionFailed):
        again.handle(slow.id).result(PATIENT_S)


def test_map_gives_results_in_order_and_shows_what_failed(client: Client, tmp_path: Path) -> None:
    events = [{"n": n} for n in range(40)]
    assert client.map("work", events) == events
    mixed = [{"n": n, **({"broken": str(tmp_path / "never")} if n == 3 else {})} for n in range(8)]
    with pytest.raises(SomeFailed, match="1 of 8 failed, the first is number 3: broken 3") as raised:
        client.map("work", mixed)
    assert [one.value for one in raised.value.ended if one.error is None] == mixed[:3] + mixed[4:]
    seen: list[tuple[int, int]] = []
    handles = [client.submit("work", {"n": n}) for n in range(5)]
    ended = client.gather(handles, progress=lambda done, total: seen.append((done, total)))
    assert [one.value["n"] for one in ended] == list(range(5))
    assert seen == [(n, 5) for n in range(1, 6)]


def test_a_dead_letter_is_looked_at_redriven_and_purged_by_the_command(
    server: RunningServer, client: Client, tmp_path: Path
) -> None:
    mended = tmp_path / "mended"
    ids = [
        cli(server, "invoke", "work", "-d", json.dumps({"n": n, "broken": str(mended)}), "--async")["id"]
        for n in (1, 2)
    ]
    for one in ids:
        failed = server.cli("result", one, "--wait")
        assert (failed.returncode, "broken" in failed.stderr) == (1, True)
    letters = cli(server, "dlq", "ls", "work")
    assert [(one["id"], one["attempts"]) for one in letters] == [(one, 2) for one in ids]
    assert "ValueError: broken 1" in letters[0]["cause"]
    assert "broken 2" in server.cli("dlq", "ls", "work").stdout
    shown = cli(server, "dlq", "show", "work", "--id", ids[0])
    assert json.loads(shown["event"])["n"] == 1
    assert json.loads(shown["error"])["errorType"] == "ValueError"
    assert cli(server, "dlq", "purge", "work", "--id", ids[1]) == {"purged": 1}
    mended.touch()
    assert cli(server, "dlq", "redrive", "work") == {"redriven": 1}
    assert client.handle(ids[0]).result(PATIENT_S)["n"] == 1
    assert server.cli("result", ids[1]).returncode == 1
    nobody = server.cli("dlq", "ls", "nobody")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "there is no deployment 'nobody'" in nobody.stderr
    missing = server.cli("dlq", "redrive", "work", "--id", ids[0])
    assert (missing.returncode, "has no dead letter" in missing.stderr) == (1, True)
    waits = cli(server, "invoke", "work", "-d", "{}", "--async", "--delay-s", "600")["id"]
    assert cli(server, "cancel", waits)["state"] == "cancelled"


def test_a_webhook_hears_of_each_end_signed_as_its_library_expects(
    server: RunningServer, client: Client, tmp_path: Path
) -> None:
    secret = cli(server, "webhooks", "secret")["secret"]
    with Receiver(500) as receiver:  # refused once, and sent again
        done = client.submit("work", {"n": 1}, webhook=receiver.url)
        dead = client.submit("work", {"n": 2, "broken": str(tmp_path / "never")}, webhook=receiver.url)
        wait_until(lambda: len(receiver.arrived) >= 3, "three messages")
        rotated = cli(server, "webhooks", "rotate")
        third = client.submit("work", {"n": 3}, webhook=receiver.url)
        wait_until(lambda: len(receiver.arrived) >= 4, "the message after the rotation")
    told = {}
    for message in receiver.arrived[:3]:
        body = Webhook(secret).verify(message.body, message.headers)
        told[body["data"]["id"]] = (body["type"], body["data"].get("result"), message.headers["webhook-id"])
    assert told[done.id][:2] == ("invocation.succeeded", {"n": 1})
    assert told[dead.id][0] == "invocation.dead"
    assert len({message.headers["webhook-id"] for message in receiver.arrived}) == 3
    for known in (secret, rotated["secret"]):
        last = receiver.arrived[3]
        assert Webhook(known).verify(last.body, last.headers)["data"]["id"] == third.id
    wait_until(
        lambda: [one["state"] for one in cli(server, "webhooks", "ls")] == ["delivered"] * 3,
        "the end",
    )


def test_a_key_that_may_only_invoke_makes_the_server_knock_nowhere(
    server: RunningServer, client: Client
) -> None:
    key = client.create_key("guest", lambent_role("invoke")).api_key
    with Receiver() as receiver, Client(server.url, key) as guest:
        guest.submit("work", {"n": 1}, webhook=receiver.url).result(PATIENT_S)
        wait_until(
            lambda: "public" in cli(server, "webhooks", "ls")[0]["error"],
            "the refusal to be noted",
        )
        with pytest.raises(ApiError, match="webhook"):
            guest.submit("work", {}, webhook="ftp://x/")
        with pytest.raises(ApiError, match="admin"):
            guest.webhooks.secret()
    assert receiver.arrived == []


def lambent_role(name: str) -> Any:
    from lambent.core.invocation import Role

    return Role(name)


def test_an_idempotency_key_holds_across_a_kill(server: RunningServer) -> None:
    asked = {"Prefer": "respond-async", "Idempotency_Key": "k1"}
    before = server.invoke("work", {"n": 1}, **asked)
    server.kill()
    server.start()
    after = server.invoke("work", {"n": 1}, **asked)
    assert (after.status, after.headers["Location"]) == (202, before.headers["Location"])
    assert server.invoke("work", {"n": 2}, **asked).status == 422


def test_whenever_the_server_is_killed_what_was_acknowledged_ends_once_and_is_on_the_bill(
    server: RunningServer, tmp_path: Path
) -> None:
    dice = random.Random(SEED)  # a seed, not a secret
    ran = tmp_path / "ran.txt"
    ran.touch()
    acknowledged: dict[int, str] = {}
    over = threading.Event()
    with Receiver() as receiver:
        sender = threading.Thread(
            target=send, args=(server, acknowledged, over, str(ran), str(tmp_path / "never"), receiver.url)
        )
        sender.start()
        for kill in range(1, KILLS + 1):
            wait_until(
                lambda kill=kill: len(acknowledged) >= kill * EVENTS // (KILLS + 2) or not sender.is_alive(),  # type: ignore[misc]  # of this turn
                "invocations to be acknowledged",
            )  # fmt: skip
            over.wait(dice.random() * 0.3)
            server.kill()
            server.start()
        sender.join(PATIENT_S)
        assert len(acknowledged) == EVENTS
        ended = {number: ending(server, one) for number, one in acknowledged.items()}
        wait_until(
            lambda: {told(one) for one in receiver.arrived} >= set(acknowledged.values()),
            "all messages",
        )
    assert len(set(acknowledged.values())) == EVENTS, "each key stands for one invocation"
    states = {number: state for number, (state, _) in ended.items()}
    assert states == {number: "dead" if number % 10 == 9 else "succeeded" for number in range(EVENTS)}
    letters = {one["id"] for one in cli(server, "dlq", "ls", "work", "--limit", "1000")}
    assert letters == {acknowledged[number] for number, state in states.items() if state == "dead"}
    check_runs(server, ran, {number: attempts for number, (_, attempts) in ended.items()})


def send(
    server: RunningServer,
    acknowledged: dict[int, str],
    over: threading.Event,
    ran: str,
    never: str,
    hook: str,
) -> None:
    """Submit each event under its own key until the server has said yes; kills come in between."""
    for number in range(EVENTS):
        event = {"n": number, "log": ran, "s": 0.02, **({"broken": never} if number % 10 == 9 else {})}
        while number not in acknowledged:
            try:
                with Client(server.url, server.about["api_key"]) as client:
                    key = f"key-{number}"
                    acknowledged[number] = client.submit(
                        "work", event, idempotency_key=key, webhook=hook, order_key=f"k{number % 3}"
                    ).id
            except LambentError:
                over.wait(0.05)


def ending(server: RunningServer, invocation_id: str) -> tuple[str, int]:
    def found() -> Any:
        answer = server.request("GET", f"/invocations/{invocation_id}", Prefer="wait=20")
        return answer if answer.status == 200 else None

    wait_until(lambda: found() is not None, invocation_id)
    answer = found()
    return answer.headers["Lambent-Status"], int(answer.headers["Lambent-Attempts"])


def told(message: Any) -> str:
    return str(json.loads(message.body)["data"]["id"])


def check_runs(server: RunningServer, ran: Path, attempts: dict[int, int]) -> None:
    """Each ran at least once; what was tried is what ran, but for what a kill cut short."""
    runs = Counter(int(line) for line in ran.read_text().split())
    assert all(runs[number] for number in attempts)
    assert all(runs[number] <= tried for number, tried in attempts.items())
    # Of those with one key one runs at a time: a kill cuts short, and repeats, three at the most.
    assert sum(attempts.values()) - sum((2 if number % 10 == 9 else 1) for number in attempts) <= 3 * KILLS
    usage = cli(server, "usage")["total"]
    assert sum(attempts.values()) - 3 * KILLS <= usage["invocations"] <= sum(attempts.values())
