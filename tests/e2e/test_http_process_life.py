"""Programs that serve HTTP on $PORT: they start, sleep, wake, end and are bounded."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from lambent.core.invocation import Status
from tests.support.http_programs import COMMAND, as_raw, get, program_of, write_program
from tests.support.raw_http import Raw
from tests.support.server import RunningServer, is_running, wait_until
from tests.support.usage import records_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_program(tmp_path_factory.mktemp("programs") / "actor")


@pytest.fixture(scope="module")
def actor(server: RunningServer, folder: Path) -> RunningServer:
    """A program that does as it is told, deployed as `actor`."""
    assert "deployed  actor" in server.deploy(folder, "--cmd", COMMAND, "--name", "actor")
    return server


def test_a_program_that_ends_takes_its_requests_along_and_the_next_finds_another(
    actor: RunningServer, tmp_path: Path
) -> None:
    before = program_of(actor, "actor")
    reply = get(actor, "/leave?status=7")
    assert (reply.status, reply.json()["error_type"]) == (502, "Runtime.ExitError")
    assert "exit status 7" in reply.json()["detail"]
    assert program_of(actor, "actor") != before
    reply = get(actor, f"/leave?signal={int(signal.SIGSEGV)}")
    assert (reply.status, "SIGSEGV" in reply.json()["detail"]) == (502, True)
    assert "leaving" in actor.cli("logs", "actor").stdout


def test_who_asks_just_after_the_end_of_an_idle_program_finds_another(actor: RunningServer) -> None:
    def asked_after_its_end() -> int:
        os.kill(pid := program_of(actor, "actor"), signal.SIGKILL)
        wait_until(lambda: not is_running(pid), "its end")
        status = get(actor, "/").status
        wait_until(lambda: get(actor, "/").status == 200, "another")
        return status

    # Its worker may read a request just before it hears of the end: that is possible, and rare.
    assert 200 in (asked_after_its_end() for _ in range(5))


def test_who_asks_just_after_a_program_has_ended_within_an_answer_finds_another(
    actor: RunningServer,
) -> None:
    def asked_after_its_end() -> int:
        with Raw(actor) as raw:
            raw.ask("GET", as_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(3000)))
            raw.answered()
            raw.body(3000)
            os.kill(program_of(actor, "actor"), signal.SIGKILL)
            with pytest.raises(ConnectionError):
                raw.body(300_000)
        status = get(actor, "/").status
        wait_until(lambda: get(actor, "/").status == 200, "another")
        return status

    assert 200 in (asked_after_its_end() for _ in range(5))


def test_its_memory_is_free_while_nobody_asks_and_requests_wait_for_it(
    server: RunningServer, folder: Path, tmp_path: Path
) -> None:
    left = tmp_path / "left"
    server.deploy(
        folder,
        "--cmd",
        COMMAND,
        "--name",
        "sleeper",
        "--set",
        "keep_alive_s=0.2",
        "--set",
        f"env.LEFT={left}",
    )
    first = program_of(server, "sleeper")
    other = int(get(server, "/left", "sleeper").body)
    left.unlink(missing_ok=True)  # of the one that was tried as it was deployed
    wait_until(lambda: not is_running(first), "its end")
    wait_until(lambda: not is_running(other), "the end of what it had started")
    assert left.exists(), "it was not told to leave"
    reply = get(server, "/", "sleeper")
    assert (reply.status, reply.headers["lambent-temperature"]) == (200, "warm")
    assert {"spawn", "listen"} <= {part.split(";")[0] for part in reply.headers["server-timing"].split(", ")}
    assert "listening" in server.cli("logs", "sleeper").stdout


def test_it_does_not_go_to_sleep_while_an_answer_is_open(
    server: RunningServer, folder: Path, tmp_path: Path
) -> None:
    server.deploy(folder, "--cmd", COMMAND, "--name", "open", "--set", "keep_alive_s=0")
    gate = tmp_path / "gate"
    with Raw(server) as raw:
        raw.ask("GET", f"/invoke/open/gated?gate={gate}")
        raw.answered()
        chunks = raw.chunks()
        next(chunks)
        pid = program_of(server, "open")
        for _ in range(10):
            server.request("GET", "/api/v1/deployments/open")
        assert is_running(pid)
        gate.touch()
        assert b"".join(chunks) == b"second"
    wait_until(lambda: not is_running(pid), "its end")


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        pytest.param(COMMAND, ["env.START=exit"], ["exit status 3", "there are no weights"], id="exits"),
        pytest.param(
            f"echo still looking for weights; {COMMAND}",
            ["env.START=hang", "ready_timeout_s=1"],
            ["did not listen on $PORT", "within 1 s", "still looking for weights"],
            id="never listens",
        ),
        pytest.param(
            COMMAND,
            ["ready_path=/health", "env.HEALTHY=/nowhere", "ready_timeout_s=1"],
            ["did not answer 2xx on /health", "within 1 s"],
            id="is never ready",
        ),
    ],
)
def test_a_program_that_does_not_serve_is_not_deployed(
    server: RunningServer, folder: Path, command: str, words: list[str], said: list[str]
) -> None:
    settings = [word for each in words for word in ("--set", each)]
    done = server.cli("deploy", str(folder), "--cmd", command, "--name", "broken", *settings)
    assert done.returncode != 0
    assert [part for part in said if part not in done.stderr] == [], done.stderr


def test_a_command_whose_port_a_shell_has_replaced_is_told_so(server: RunningServer, folder: Path) -> None:
    done = server.cli("deploy", str(folder), "--cmd", "python -m http.server --bind", "--name", "broken")
    assert "it does not say $PORT" in done.stderr
    done = server.cli("deploy", str(folder), "--cmd", "no-such-program $PORT", "--name", "broken")
    assert ("exit status 127" in done.stderr, "not found" in done.stderr) == (True, True)


def test_it_may_listen_on_the_other_loopback_and_say_itself_when_it_is_ready(
    server: RunningServer, folder: Path, tmp_path: Path
) -> None:
    healthy = tmp_path / "healthy"
    healthy.touch()
    words = ["--set", "ready_path=/health#fine", "--set", f"env.HEALTHY={healthy}"]
    if Path("/proc/net/if_inet6").exists():
        words += ["--set", "env.START=ipv6"]
    server.deploy(folder, "--cmd", COMMAND, "--name", "ready", *words)
    reply = get(server, "/", "ready")
    assert reply.status == 200
    assert "ready;dur=" in reply.headers["server-timing"]


def test_what_its_own_processes_use_is_on_the_bill(actor: RunningServer) -> None:
    def used_s() -> float:
        lines = actor.request("GET", "/api/v1/usage").json()["lines"]
        return sum(float(line["cpu_s"]) for line in lines if line["deployment"] == "actor")

    before_s = used_s()
    assert get(actor, "/child").body == b"done"
    wait_until(lambda: used_s() - before_s > 0.35, "its child's time on the bill")


BURNER = """
import http.server, os

class Burner(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        while self.path == "/burn":
            pass
        self.send_response(204)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Burner).serve_forever()
"""


def test_what_it_used_before_it_was_ended_is_on_the_bill(server: RunningServer, tmp_path: Path) -> None:
    server.deploy(
        write_program(tmp_path / "burner", BURNER), "--cmd", COMMAND, "--name", "burner",
        "--set", "concurrency=1", "--set", "timeout_s=1",
    )  # fmt: skip
    assert get(server, "/", "burner").status == 204
    assert get(server, "/burn", "burner").status == 504
    (late,) = (one for one in records_of(server.state_dir) if one.status is Status.TIMED_OUT)
    assert 100_000 < late.cpu_us < 1.5 * late.run_us


def test_what_its_processes_have_together_is_bounded(server: RunningServer, folder: Path) -> None:
    server.deploy(folder, "--cmd", COMMAND, "--name", "family", "--set", "memory=128MiB")
    assert get(server, "/family?count=1", "family").body == b"grown"
    pid = program_of(server, "family")
    get(server, "/family?count=4", "family")
    wait_until(lambda: not is_running(pid), "its end")
    wait_until(lambda: get(server, "/", "family").status == 200, "another")
    assert "Runtime.OutOfMemory" in server.cli("logs", "family").stdout


def test_one_that_ends_while_its_answer_is_read_is_not_asked_again(actor: RunningServer) -> None:
    with Raw(actor) as raw:
        raw.ask("GET", as_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(3000)))
        raw.answered()
        before = program_of(actor, "actor")
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: not is_running(before), "its end")
        with pytest.raises(ConnectionError):
            raw.body(300_000)
    wait_until(lambda: get(actor, "/").status == 200, "another")
    assert {get(actor, "/").status for _ in range(5)} == {200}


def test_a_folder_may_say_its_commands_itself(server: RunningServer, tmp_path: Path) -> None:
    folder = write_program(tmp_path / "said")
    (folder / "lambent.toml").write_text(
        '[deployments.one]\ncommand = "python actor.py"\nready_path = "/health"\n'
        '[deployments.two]\nruntime = "http"\ncommand = "exec python actor.py"\nenv = { MINE = "1" }\n'
    )
    said = server.deploy(folder)
    assert ("deployed  one" in said, "deployed  two" in said) == (True, True)
    assert get(server, "/environ", "two").json()["MINE"] == "1"
    shown = server.cli("show", "two").stdout
    assert ("http" in shown, "exec python actor.py" in shown) == (True, True)


def test_an_app_may_declare_a_command(server: RunningServer, tmp_path: Path) -> None:
    folder = write_program(tmp_path / "declared")
    (folder / "app.py").write_text(
        "import lambent\napp = lambent.App('all')\n"
        "app.command('third', 'python actor.py', ready_path='/health', env={'MINE': '3'})\n"
        "@app.function\ndef beside(event, context):\n    return event\n"
    )
    (folder / "lambent.toml").write_text('[app]\ntarget = "app.py"\n')
    said = server.deploy(folder)
    assert ("deployed  third" in said, "deployed  beside" in said) == (True, True)
    assert get(server, "/environ", "third").json()["MINE"] == "3"
    assert server.invoke("beside", 1).json() == 1


def test_it_is_tried_beside_another_revision_and_not_beside_a_function(
    actor: RunningServer, folder: Path, tmp_path: Path
) -> None:
    said = actor.deploy(folder, "--cmd", "exec python actor.py", "--name", "actor", "--canary", "0")
    assert "on trial" in said
    assert get(actor, "/").status == 200
    actor.cli("rollback", "actor")
    (tmp_path / "plain.py").write_text("def handler(event, context):\n    return event\n")
    refused = actor.cli("deploy", f"{tmp_path / 'plain.py'}:handler", "--name", "actor", "--canary", "5")
    assert "cannot share traffic" in refused.stderr
