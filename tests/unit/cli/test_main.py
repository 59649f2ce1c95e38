"""Whatever goes wrong is one line and an exit code, and starting costs little."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from lambent.cli.main import VERBS
from lambent.core.settings import SETTINGS
from tests.support.fake_control import FakeControl, Told, json_told
from tests.support.patience import PATIENT_S
from tests.unit.cli.conftest import Lambent
from tests.unit.cli.views import DETAIL, HELLO

COMMAND = [sys.executable, "-m", "lambent.cli.main"]
HEAVY = {"asyncio", "rich", "sqlalchemy", "starlette", "uvicorn", "numpy", "psutil"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(lambent: Lambent, verb: str) -> None:
    printed = lambent(verb, "--help")
    assert (printed.code, printed.err) == (0, "")
    assert printed.out.startswith(f"Usage: lambent {verb}")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("up", "dev")])
def test_every_verb_that_ends_by_itself_speaks_json(lambent: Lambent, verb: str) -> None:
    assert "--json" in lambent(verb, "--help").out


def test_deploy_names_every_setting_in_its_help(lambent: Lambent) -> None:
    assert set(SETTINGS) <= set(lambent("deploy", "--help").out.replace(",", " ").split())


def test_without_a_verb_it_helps(lambent: Lambent) -> None:
    assert lambent().out == lambent("--help").out


def test_the_version_is_told(lambent: Lambent) -> None:
    assert lambent("--version").out.startswith("lambent 0.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "No such command 'nonsense'. (see lambent --help)"),
        (["deploy"], "Missing argument 'TARGET'. (see lambent deploy --help)"),
        (["deploy", "x", "--set", "memory"], "'memory' is not of the form KEY=VALUE"),
        (["deploy", "x", "--set", "=1"], "'=1' is not of the form KEY=VALUE"),
        (["invoke", "x", "-d", "{x: 1}"], "the data is not JSON"),
        (["invoke", "x", "-d", "[" * 10_000], "the data is not JSON"),
        (["up", "--port", "70000"], "70000 is not in the range"),
        (["up", "--memory-budget", "lots"], "'lots' is not a size"),
        (["up", "--tls-cert", __file__], "--tls-cert and --tls-key go together"),
        (["usage", "--since", "yesterday"], "'yesterday' is neither a time such as 2026-11-30 nor an age"),
        (["rollback", "x", "--to", "0"], "0 is not in the range"),
        (["keys", "create", "x", "--role", "king"], "'king' is not one of"),
    ],
)
def test_misuse_is_one_line_and_code_2(lambent: Lambent, words: list[str], said: str) -> None:
    printed = lambent(*words)
    assert (printed.code, printed.out) == (2, "")
    assert printed.err.startswith("error: ")
    assert said in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ls"], "no server answers at http://127.0.0.1:8700"),
        (
            ["invoke", "x", "-d", "@/nonexistent/x.json"],
            "/nonexistent/x.json: No such file or directory",
        ),
        (["deploy", "/nonexistent/app.py"], "no server answers"),
    ],
)
def test_a_failure_is_one_line_and_code_1(lambent: Lambent, words: list[str], said: str) -> None:
    printed = lambent(*words)
    assert (printed.code, printed.out) == (1, "")
    assert printed.err.startswith(f"error: {said}")
    assert printed.err.count("\n") == 1


def test_a_bug_of_ours_is_one_line_too(control: FakeControl, lambent: Lambent) -> None:
    # No calendar has the year of this deployment, and nothing in the command expects that.
    deployment = msgspec.structs.replace(HELLO, created_unix_ms=10**18)
    detail = msgspec.structs.replace(DETAIL, deployment=deployment)
    control.tell("GET", "/api/v1/deployments/hello", json_told(detail))
    printed = lambent("show", "hello")
    assert printed.code == 1
    assert printed.err.startswith("error: this is a bug in lambent: ValueError: year")
    assert printed.err.count("\n") == 1


def test_the_syntax_error_of_a_user_is_shown_before_any_upload(
    control: FakeControl, lambent: Lambent, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text("def handler(:\n")
    printed = lambent("deploy", f"{tmp_path}/app.py:handler")
    assert (printed.code, printed.err) == (
        1,
        f"error: {tmp_path}/app.py:1: invalid syntax: def handler(:\n",
    )
    assert control.asked == []


@pytest.mark.parametrize("words", [["--help"], ["invoke", "hello"], ["ls"], ["--version"]])
def test_a_quick_verb_loads_nothing_heavy(control: FakeControl, words: list[str]) -> None:
    control.tell("POST", "/invoke/hello", json_told(1))
    control.tell("GET", "/api/v1/deployments", json_told([HELLO]))
    code = f"import sys; from lambent.cli.main import run; run({words}); print('loaded', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENT_S
    )
    loaded = set(done.stdout.rpartition("loaded ")[2].split())
    assert loaded.isdisjoint(HEAVY)
    assert ("urllib3" in loaded) == (words[0] not in ("--help", "--version"))


@pytest.mark.parametrize(
    ("words", "closed", "code"),
    [
        ("--version", ">&-", 0),
        ("--version", "2>&-", 0),
        ("nonsense", "2>&-", 2),
        ("ls --json", "<&- >&- 2>&-", 0),
    ],
)
def test_a_stream_that_was_closed_by_the_caller_is_done_without(
    control: FakeControl, words: str, closed: str, code: int
) -> None:
    control.tell("GET", "/api/v1/deployments", json_told([HELLO]))
    command = f"exec {' '.join(COMMAND)} {words} {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=PATIENT_S, check=False)
    assert (done.returncode, done.stderr) == (code, b"")


def test_an_output_without_room_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "--version"], stdout=full, stderr=subprocess.PIPE, timeout=PATIENT_S, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"error: No space left on device\n")


def test_a_reader_that_leaves_is_no_error(control: FakeControl) -> None:
    control.tell("GET", "/api/v1/deployments/hello/logs", Told(chunks=(b"line\n" * 100_000, b"end\n")))
    with subprocess.Popen(
        [*COMMAND, "logs", "-f", "hello"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENT_S) == 1


@contextmanager
def interruptible() -> Iterator[None]:
    """Children can be interrupted, also where the tests themselves run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_with_130(control: FakeControl) -> None:
    control.tell("GET", "/api/v1/deployments/hello/logs", Told(chunks=(b"line\n", b"end\n")))
    with (
        interruptible(),
        subprocess.Popen(
            [*COMMAND, "logs", "-f", "hello"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
    ):
        assert control.arrived.wait(PATIENT_S)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENT_S)
    assert process.returncode == 130
    assert b"Traceback" not in err


def test_up_becomes_the_server(tmp_path: Path) -> None:
    """The interpreter is replaced, so the server has the process id that was started, and the same flags."""
    stand_in = tmp_path / "python"
    stand_in.write_text('#!/bin/sh\necho "$$ $*"\n')
    stand_in.chmod(0o755)
    code = (
        f"import os, sys; sys.executable = {str(stand_in)!r}; from lambent.cli.main import run;"
        "sys.exit(run(['up', '--state-dir', 'D', '--port', '0', '--memory-budget', '1KiB', '--ephemeral']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        out, _ = process.communicate(timeout=PATIENT_S)
    flags = "-P -m lambent.wiring --state-dir D --port 0 --memory-budget 1024 --ephemeral"
    assert out == f"{process.pid} {flags}\n"


def test_output_that_the_terminal_cannot_show_is_no_failure(control: FakeControl) -> None:
    control.tell("GET", "/api/v1/deployments/hello/logs", Told(body="déjà ✓\n".encode()))
    environ = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        [*COMMAND, "logs", "hello"], env=environ, capture_output=True, check=True, timeout=PATIENT_S
    )
    assert done.stdout == "déjà \\u2713\n".encode("latin-1")
