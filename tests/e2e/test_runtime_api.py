"""Programs that poll AWS Lambda's Runtime API: what they do is told, whatever they do, and others go on."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.bootstraps import SHELL, write_bootstrap
from tests.support.raw_http import Raw
from tests.support.server import Reply, RunningServer, wait_until, wait_until_ended

MIB = 1 << 20


@pytest.fixture(scope="module")
def actor(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a program that does as it is told, deployed under its folder's name."""
    folder = write_bootstrap(tmp_path_factory.mktemp("programs") / "Actor")
    said = server.deploy(folder)
    assert "deployed  actor" in said
    return folder


def told(reply: Reply) -> tuple[str, str]:
    """The type and the message of a failed invocation."""
    document = reply.json()
    return document["error_type"], document["detail"]


def do(server: RunningServer, what: str, name: str = "actor", **more: Any) -> Reply:
    return server.invoke(name, {"do": what, **more})


def test_a_program_gets_what_lambda_gives_it(server: RunningServer, actor: Path) -> None:
    reply = server.invoke("actor", {"x": "€"}, Traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"] == "application/json"
    result, headers = reply.json(), reply.json()["headers"]
    assert (result["event"], result["handler"]) == ({"x": "€"}, "bootstrap")
    assert headers["Lambda-Runtime-Aws-Request-Id"] == reply.headers["lambent-invocation-id"]
    assert headers["Lambda-Runtime-Invoked-Function-Arn"].endswith(":function:actor")
    assert headers["Lambda-Runtime-Trace-Id"].startswith(f"Root=1-{'a' * 8}-{'a' * 24};Parent=")
    assert headers["Content-Type"] == "application/json"
    assert int(headers["Lambda-Runtime-Deadline-Ms"]) > 1_600_000_000_000
    assert do(server, "echo").json()["pid"] == result["pid"]


def test_its_variables_are_those_of_lambda(server: RunningServer, actor: Path) -> None:
    environ = do(server, "environ").json()
    assert environ["AWS_LAMBDA_FUNCTION_NAME"] == "actor"
    assert environ["LAMBDA_TASK_ROOT"] == do(server, "echo").json()["cwd"]
    assert (environ["_HANDLER"], environ["TZ"]) == ("bootstrap", ":UTC")
    assert "AWS_EXECUTION_ENV" not in environ
    assert "AWS_LAMBDA_MAX_CONCURRENCY" not in environ


def test_it_stays_warm_and_says_why(server: RunningServer, actor: Path) -> None:
    view = server.deployment("actor")
    assert "cannot be forked" in view["unsafe"][0]
    shown = server.cli("show", "actor").stdout
    assert "cannot be forked" in shown
    assert "fork_unsafe" not in shown
    server.invoke("actor", {})
    assert server.deployment("actor")["pss_bytes"] > 0
    wakes = server.request("GET", "/api/v1/deployments/actor").json()["wakes"]
    assert {"fork", "restore", "spawn", "init"} <= set(wakes[0]["parts_ms"])


def test_its_memory_is_counted_and_freed_with_its_worker(server: RunningServer, actor: Path) -> None:
    pid = do(server, "echo").json()["pid"]
    program = psutil.Process(pid)
    assert server.deployment("actor")["pss_bytes"] >= program.memory_info().rss / 3
    server.deploy(actor, "--name", "brief", "--set", "keep_alive_s=0")
    program = psutil.Process(do(server, "echo", "brief").json()["pid"])
    wait_until_ended([program])
    assert server.deployment("brief")["workers"] == 0


def test_an_error_is_its_callers_as_it_was_reported(server: RunningServer, actor: Path) -> None:
    body = json.dumps(
        {"errorMessage": "no", "errorType": "Own.Kind", "trace": ["a"], "stackTrace": [{"f": 1}]}
    )
    reply = do(server, "error", body=body)
    assert reply.status == 500
    assert told(reply) == ("Own.Kind", "no")
    assert told(do(server, "error", body="not JSON", type="Own.Type")) == ("Own.Type", "not JSON")
    assert told(do(server, "error", body="[]", type="Own.Type")) == ("Own.Type", "[]")
    assert told(do(server, "error", body='{"errorMessage": 3}', type="Own.Type"))[0] == "Own.Type"
    assert told(do(server, "error", body='{"a": 1}', type="")) == ("Runtime.Unknown", '{"a": 1}')


def test_at_lambdas_own_door_an_error_has_all_that_its_runtime_says(
    server: RunningServer, actor: Path
) -> None:
    error = {
        "errorType": "TypeError",
        "errorMessage": "no",
        "trace": ["TypeError: no", "    at index.js:1:1"],
    }
    reply = server.request(
        "POST",
        "/2015-03-31/functions/actor/invocations",
        json.dumps({"do": "error", "body": json.dumps(error)}).encode(),
    )
    assert (reply.status, reply.headers["x-amz-function-error"]) == (200, "Unhandled")
    assert reply.json() == error


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ({"do": "exit", "status": 3}, "Runtime exited with error: exit status 3"),
        ({"do": "exit", "status": 0}, "Runtime exited without providing a reason"),
        ({"do": "signal", "signal": int(signal.SIGSEGV)}, "Runtime exited with error: signal 11 (SIGSEGV)"),
    ],
)
def test_a_program_that_ends_is_told_of_and_replaced(
    server: RunningServer, actor: Path, ends: dict[str, Any], said: str
) -> None:
    before = do(server, "echo").json()["pid"]
    kind, message = told(server.invoke("actor", ends))
    assert (kind, message.endswith(said)) == ("Runtime.ExitError", True), message
    assert do(server, "echo").json()["pid"] != before


def test_one_that_ends_between_calls_is_replaced(server: RunningServer, actor: Path) -> None:
    before = do(server, "echo").json()["pid"]
    psutil.Process(before).kill()
    wait_until(lambda: server.deployment("actor")["workers"] == 0, "the worker to follow its program")
    assert do(server, "echo").json()["pid"] != before


def test_one_that_is_over_its_time_is_killed_and_replaced(server: RunningServer, actor: Path) -> None:
    server.deploy(actor, "--name", "hasty", "--set", "timeout_s=1")
    program = psutil.Process(do(server, "echo", "hasty").json()["pid"])
    kind, message = told(do(server, "hang", "hasty"))
    assert (kind, message.endswith("Task timed out after 1.00 seconds")) == ("Sandbox.Timedout", True)
    wait_until_ended([program])
    assert do(server, "echo", "hasty").status == 200


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (("INIT=error",), ("Own.InitError", "no weights", '{"file":"two"}')),
        (("INIT=exit",), ("Runtime.ExitError", "exit status 7", "it is not there")),
        (
            ("AWS_LAMBDA_INITIALIZATION_TYPE=snap-start", "RESTORE=error"),
            ("Own.RestoreError", "no clock"),
        ),
    ],
)
def test_one_that_does_not_start_is_not_deployed(
    server: RunningServer, actor: Path, environ: tuple[str, ...], said: tuple[str, ...]
) -> None:
    words = [word for pair in environ for word in ("--set", f"env.{pair}")]
    done = server.cli("deploy", str(actor), "--name", "broken", *words)
    assert done.returncode != 0
    for part in said:
        assert part in done.stderr + done.stdout
    assert server.request("GET", "/api/v1/deployments/broken").status == 404


def test_one_that_never_asks_for_work_is_not_waited_for(server: RunningServer, tmp_path: Path) -> None:
    folder = write_bootstrap(tmp_path / "silent")
    folder.joinpath("bootstrap").write_text("#!/bin/sh\nexec sleep 1000\n")
    done = server.cli("deploy", str(folder), "--set", "ready_timeout_s=0.2")
    assert done.returncode != 0
    assert "did not ask for an invocation within 0.2 s" in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [("no interpreter", "cannot be run"), ("#!/there/is/none\n", "cannot be run")],
)
def test_what_the_kernel_cannot_run_is_not_deployed(
    server: RunningServer, tmp_path: Path, text: str, said: str
) -> None:
    done = server.cli("deploy", str(write_bootstrap(tmp_path / "odd", text)))
    assert done.returncode != 0
    assert said in done.stderr


def test_one_that_was_restored_hears_it(server: RunningServer, actor: Path) -> None:
    server.deploy(actor, "--name", "snapped", "--set", "env.AWS_LAMBDA_INITIALIZATION_TYPE=snap-start")
    assert do(server, "echo", "snapped").status == 200
    assert "restored: 200" in server.cli("logs", "snapped").stdout


def test_what_it_logs_is_in_the_log_in_one_piece_and_in_time(server: RunningServer, actor: Path) -> None:
    assert do(server, "log", text="first line\nsecond line, no end").json() == "logged"
    lines = server.cli("logs", "actor").stdout
    assert "first line\n" in lines
    assert "second line, no end\n" in lines


def test_bodies_come_with_the_type_that_was_said(server: RunningServer, actor: Path) -> None:
    for said, heard in (
        ("application/unknown", "application/octet-stream"),
        ("application/x-www-form-urlencoded", "application/json"),
        ("image/png", "image/png"),
    ):
        reply = do(server, "bytes", size=5 * MIB, type=said)
        assert (reply.status, len(reply.body), reply.headers["content-type"]) == (200, 5 * MIB, heard)


def test_an_answer_streams_while_it_is_made(server: RunningServer, actor: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    event = {"do": "stream", "pieces": ["one ", "two"], "type": "text/x-own", "gate": str(gate)}
    with Raw(server) as raw:
        raw.ask("POST", "/invoke/actor", event)
        status, headers = raw.answered()
        assert (status, dict(headers)["content-type"]) == (200, "text/x-own")
        chunks = raw.chunks()
        assert next(chunks) == b"one "
        gate.touch()
        assert b"".join(chunks) == b"two"


def test_a_stream_may_end_in_an_error_or_in_nothing(server: RunningServer, actor: Path) -> None:
    event = {"do": "stream", "pieces": ["data: one\n\n"], "type": "text/event-stream"}
    late = {"errorMessage": "too late", "errorType": "Own.Late"}
    for more, said in (
        ({"error": late}, b'"errorType":"Own.Late"'),
        ({"broken": True}, b'"errorType":"Runtime.TruncatedResponse"'),
    ):
        reply = server.invoke("actor", {**event, **more}, Accept="text/event-stream")
        assert reply.body.startswith(b"data: one\n\nevent: error\n")
        assert said in reply.body


def test_a_stream_waits_for_a_reader_that_does_not_read(
    server: RunningServer, actor: Path, tmp_path: Path
) -> None:
    server.deploy(actor, "--name", "flood", "--set", "memory=256MiB")
    sent = tmp_path / "sent"
    with Raw(server) as raw:
        raw.ask("POST", "/invoke/flood", {"do": "flood", "sent": str(sent), "for_s": 0.5})
        assert raw.answered()[0] == 200
        wait_until(sent.exists, "the program to give up")
        assert int(sent.read_text()) < 64 * MIB


def test_all_that_it_is_made_of_ends_with_the_server(tmp_path: Path) -> None:
    server = RunningServer(tmp_path / "state").start()
    server.deploy(write_bootstrap(tmp_path / "orphan"))
    program = psutil.Process(do(server, "echo", "orphan").json()["pid"])
    server.kill()
    wait_until_ended([program])


NATIVE = """
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char text[65536];

static int ask(int fd, const char *what) {
    int size = 0, got;
    write(fd, what, strlen(what));
    while (!strstr(text, "\\r\\n\\r\\n")) {
        if ((got = read(fd, text + size, sizeof text - 1 - size)) <= 0) exit(1);
        text[size += got] = 0;
    }
    return size;
}

int main(void) {
    char *api = strdup(getenv("AWS_LAMBDA_RUNTIME_API")), *port = strchr(api, ':'), id[64], out[512];
    struct sockaddr_in at = {.sin_family = AF_INET};
    for (*port++ = 0, at.sin_port = htons(atoi(port)), inet_aton(api, &at.sin_addr);;) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&at, sizeof at)) return 1;
        text[0] = 0;
        ask(fd, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\n\\r\\n");
        sscanf(strstr(text, "Request-Id: ") + 12, "%63s", id);
        sprintf(out, "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\\r\\n"
                     "Content-Length: 10\\r\\n\\r\\n\\"compiled\\"", id);
        text[0] = 0;
        ask(fd, out);
        close(fd);
    }
}
"""


def test_a_compiled_program_will_do(server: RunningServer, tmp_path: Path) -> None:
    if (compiler := shutil.which("gcc") or shutil.which("cc")) is None:
        pytest.skip("there is no C compiler here")
    (tmp_path / "compiled").mkdir()
    source, program = tmp_path / "main.c", tmp_path / "compiled" / "bootstrap"
    source.write_text(NATIVE)
    subprocess.run([compiler, "-D_GNU_SOURCE", "-w", "-o", str(program), str(source)], check=True)
    server.deploy(program)
    assert [server.invoke("compiled", {}).json() for _ in range(3)] == ["compiled"] * 3


def test_a_shell_with_curl_will_do(server: RunningServer, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    server.deploy(write_bootstrap(tmp_path / "shell", SHELL))
    for number in range(3):
        reply = server.invoke("shell", {"n": number})
        assert (reply.status, reply.json()) == (200, {"got": {"n": number}}), reply.body
    big = {"text": "x" * 100_000}  # of which curl asks whether it may send it
    assert server.invoke("shell", big).json() == {"got": big}
