"""Each verb asks the server and says what it heard, for people and for programs."""

import json
import re
import threading
from pathlib import Path

import msgspec
import pytest

from lambent.cli import invoke, progress
from lambent.cli.main import run
from lambent.wire.api import (
    ArtifactReply,
    AsyncReply,
    DeploymentDetail,
    DeploymentView,
    DeployReply,
    DeployRequest,
    ModelView,
    Problem,
    ProcessView,
)
from lambent.wire.keys import KeyReply, KeyView
from lambent.wire.runs import RunRequest
from tests.support.fake_control import FakeControl, Told, json_told, problem_told
from tests.unit.cli.conftest import Lambent
from tests.unit.cli.views import DETAIL, DIGITS, HELLO, USAGE, run_view

MODEL = ModelView(
    name="digits",
    number=1,
    digest="sha256:0123456789abcdef",
    metrics={"accuracy": 0.97654},
    run="run-1",
    created_unix_ms=1_800_000_000_000,
    size_bytes=3 * 2**20,
)
KEY = KeyView(key_id="k1", name="ci", role="deploy", created_unix_ms=1_800_000_000_000)
PROCESSES = [
    ProcessView(pid=10, role="server", deployment="", pss_bytes=50 * 2**20, private_bytes=40 * 2**20),
    ProcessView(pid=11, role="worker", deployment="hello", pss_bytes=2**20, private_bytes=2**19),
]


@pytest.mark.parametrize(
    ("words", "path", "answer"),
    [
        (["ls"], "/api/v1/deployments", [HELLO]),
        (["show", "hello"], "/api/v1/deployments/hello", DETAIL),
        (["ps"], "/api/v1/processes", PROCESSES),
        (["runs"], "/api/v1/runs", [run_view("running")]),
        (["models"], "/api/v1/models", [MODEL]),
        (["usage"], "/api/v1/usage", USAGE),
        (["cost"], "/api/v1/usage", USAGE),
        (["keys"], "/api/v1/keys", [KEY]),
        (["keys", "ls"], "/api/v1/keys", [KEY]),
    ],
)
def test_json_is_what_the_server_said(
    control: FakeControl, lambent: Lambent, words: list[str], path: str, answer: object
) -> None:
    control.tell("GET", path, json_told(answer))
    printed = lambent(*words, "--json")
    assert (printed.code, printed.err) == (0, "")
    assert json.loads(printed.out) == json.loads(msgspec.json.encode(answer))


def test_ls_is_an_aligned_table(control: FakeControl, lambent: Lambent) -> None:
    control.tell("GET", "/api/v1/deployments", json_told([DIGITS, HELLO]))
    header, digits, hello = lambent("ls").out.splitlines()
    titles = "NAME KIND REV TEMPERATURE KEEP WORKERS QUEUED PRIVATE SHARED LAST WAKE NOTE"
    assert header.split() == titles.split()
    assert re.split(r" {2,}", digits)[:-1] == ["digits", "model", "1", "cold", *"-", "0", "12", *"---"]
    assert digits.endswith("no model yet: the first invocation starts its training")
    *cells, last_wake = re.split(r" {2,}", hello)
    assert cells == ["hello", "function", "2", "hot", "-", "1", "0", "1.0 MiB", "4.0 MiB"]
    assert last_wake.startswith("3.2 ms from primed, ")


def test_ls_says_what_is_wrong_in_one_line(control: FakeControl, lambent: Lambent) -> None:
    broken = msgspec.structs.replace(HELLO, last_error="ImportError: \x1b[31mno\nmodule" + " very" * 50)
    unsafe = msgspec.structs.replace(HELLO, unsafe=("3 threads", "1 socket"))
    control.tell("GET", "/api/v1/deployments", json_told([broken, unsafe]))
    _, first, second = lambent("ls").out.splitlines()
    assert "failed to load: ImportError: ·[31mno module very" in first
    assert first.endswith("…")
    assert second.endswith("cannot be primed: 3 threads; 1 socket")


def test_ls_marks_pins_and_what_is_primed_although_it_was_found_unsafe(
    control: FakeControl, lambent: Lambent
) -> None:
    pinned = msgspec.structs.replace(HELLO, keep="primed", overruled=("3 threads",))
    control.tell("GET", "/api/v1/deployments", json_told([pinned]))
    _, line = lambent("ls").out.splitlines()
    assert re.split(r" {2,}", line)[4] == "primed"
    assert line.endswith("may be forked although 3 threads")


def test_a_job_has_no_temperature(control: FakeControl, lambent: Lambent) -> None:
    job = msgspec.structs.replace(DIGITS, name="fit", kind="job", needs_model=False)
    control.tell("GET", "/api/v1/deployments", json_told([job]))
    _, line = lambent("ls").out.splitlines()
    assert re.split(r" {2,}", line) == ["fit", "job", "1", "-", "-", "0", "12", *"---"]


def test_show_lists_why_it_is_not_primed_and_what_to_do(control: FakeControl, lambent: Lambent) -> None:
    unsafe = msgspec.structs.replace(HELLO, unsafe=("3 threads", "1 socket"), keep="primed")
    control.tell("GET", "/api/v1/deployments/hello", json_told(replaced(unsafe)))
    out = lambent("show", "hello").out
    assert re.search(r"not primed +3 threads\n +1 socket\n +Each worker loads by itself", out)
    assert "--set fork_unsafe=allow" in out
    assert re.search(r"^keep +primed$", out, re.MULTILINE)
    overruled = msgspec.structs.replace(HELLO, overruled=("3 threads",))
    control.tell("GET", "/api/v1/deployments/hello", json_told(replaced(overruled)))
    assert re.search(r"overruled +3 threads\n +It may be forked nevertheless", lambent("show", "hello").out)


def replaced(deployment: DeploymentView) -> DeploymentDetail:
    return msgspec.structs.replace(DETAIL, deployment=deployment)


def test_show_has_revisions_and_a_line_on_the_last_wake(control: FakeControl, lambent: Lambent) -> None:
    control.tell("GET", "/api/v1/deployments/hello", json_told(DETAIL))
    out = lambent("show", "hello").out
    assert "workers      1 (from 0 to 4)" in out
    assert "environment  MODE" in out
    assert re.search(r"memory +1.0 MiB private, 4.0 MiB shared", out)
    assert re.search(r"last wake +3.2 ms from primed, .* \(lambent show hello --wakes tells all\)", out)


def test_deploy_says_what_changed(control: FakeControl, lambent: Lambent, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("")
    control.tell("POST", "/api/v1/artifacts", json_told(ArtifactReply("sha256:1", 1, 1), 201))
    control.tell("POST", "/api/v1/deployments", json_told(DeployReply((DIGITS, HELLO), ("digits",))))
    printed = lambent("deploy", f"{tmp_path}/app.py", "--set", "memory=1GiB", "--set", "env.A=b=c")
    assert printed.out.splitlines() == [
        "deployed  digits  (model, revision 1, has no model yet)  http://127.0.0.1:8700/invoke/digits",
        "unchanged  hello  (function, revision 2)  http://127.0.0.1:8700/invoke/hello",
    ]
    asked = msgspec.json.decode(control.asked[1].body, type=DeployRequest)
    assert asked.settings == {"memory": "1GiB", "env.A": "b=c"}


def test_deploy_tells_what_cannot_be_primed(control: FakeControl, lambent: Lambent, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("")
    unsafe = msgspec.structs.replace(HELLO, unsafe=("3 threads",))
    control.tell("POST", "/api/v1/artifacts", json_told(ArtifactReply("sha256:1", 1, 1), 201))
    control.tell("POST", "/api/v1/deployments", json_told(DeployReply((unsafe,), ("hello",))))
    assert lambent("deploy", f"{tmp_path}/app.py").out.splitlines() == [
        "deployed  hello  (function, revision 2, cannot be primed)  http://127.0.0.1:8700/invoke/hello",
        "`lambent show hello` tells why it cannot be primed and what to do",
    ]


def test_invoke_prints_the_result(control: FakeControl, lambent: Lambent) -> None:
    control.tell("POST", "/invoke/hello", json_told({"message": "Hello"}))
    assert lambent("invoke", "hello", "-d", '{"x": 1}').out == '{"message":"Hello"}\n'
    assert control.asked[0].body == b'{"x": 1}'


def test_invoke_prints_bytes_as_they_are(
    control: FakeControl, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    control.tell("POST", "/invoke/hello", Told(body=b"\x89PNG\n\xff"))
    assert run(["invoke", "hello"]) == 0
    assert capfdbinary.readouterr().out == b"\x89PNG\n\xff"


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("event.json", [], "application/json"),
        ("digit.jpeg", [], "image/jpeg"),
        ("unknown", [], "application/octet-stream"),
        ("unknown", ["--content-type", "text/plain"], "text/plain"),
    ],
)
def test_invoke_takes_a_file_for_what_it_is(
    control: FakeControl, lambent: Lambent, tmp_path: Path, name: str, options: list[str], kind: str
) -> None:
    (tmp_path / name).write_bytes(b"[1]")
    control.tell("POST", "/invoke/hello", json_told(1))
    assert lambent("invoke", "hello", "-d", f"@{tmp_path}/{name}", *options).code == 0
    assert (control.asked[0].headers["content-type"], control.asked[0].body) == (kind, b"[1]")


def test_invoke_tells_how_it_went(control: FakeControl, lambent: Lambent) -> None:
    headers = {"Content-Type": "application/json", "Lambent-Temperature": "cold", "Lambent-Billed-Ms": "7"}
    control.tell("POST", "/invoke/hello", Told(body=b"1", headers={**headers, "Server-Timing": "fork;dur=2"}))
    printed = lambent("invoke", "hello", "--show-headers")
    assert printed.out == "1\n"
    assert {"temperature on arrival: cold", "billed: 7 ms", "timing: fork 2.0 ms"} <= set(
        printed.err.splitlines()
    )
    told = json.loads(lambent("invoke", "hello", "--json").out)
    assert (told["value"], told["temperature"], told["timing_ms"]) == (1, "cold", {"fork": 2.0})


def test_invoke_shows_the_error_of_the_function(control: FakeControl, lambent: Lambent) -> None:
    trace = ('  File "hello.py", line 2, in handler\n    raise KeyError\n',)
    failed = Problem(
        "Failed", 500, "user_code_failed", "'x'\nis missing", error_type="KeyError", stack_trace=trace
    )
    control.tell("POST", "/invoke/hello", problem_told(failed))
    printed = lambent("invoke", "hello")
    assert (printed.code, printed.out) == (1, "")
    assert printed.err == trace[0] + "error: KeyError: 'x' is missing\n"


def test_an_invocation_that_waits_for_a_model_shows_its_training(
    control: FakeControl, lambent: Lambent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_AFTER_S", 0.0)
    monkeypatch.setattr(invoke, "WATCH_S", 0.05)
    training = run_view("running", progress=0.5, message="epoch 3", metrics={"loss": 0.25})
    asked_twice = threading.Event()
    control.tell("GET", "/api/v1/runs", json_told([training]), Told(body=b"[]", reached=asked_twice))
    control.tell("POST", "/invoke/digits", Told(body=b"7", after=asked_twice))
    assert lambent("invoke", "digits").err.splitlines()[-1] == (
        "digits waits for digits-fit: epoch 3  loss 0.25 (50%) ..."
    )


def test_an_asynchronous_invocation_is_fetched_by_its_id(control: FakeControl, lambent: Lambent) -> None:
    control.tell("POST", "/invoke/hello", Told(status=202, headers={"Location": "/invocations/id-1"}))
    running = json_told(AsyncReply("id-1", "hello", "running", 1), 202)
    done = Told(body=b"[7]", headers={"Content-Type": "application/json", "Lambent-Status": "ok"})
    control.tell("GET", "/invocations/id-1", running, running, done)
    assert lambent("invoke", "hello", "--async").out == "id-1\n"
    assert lambent("result", "id-1").out == "running\n"
    assert lambent("result", "id-1", "--wait").out == "[7]\n"


def test_logs_are_printed_line_by_line(control: FakeControl, lambent: Lambent) -> None:
    control.tell("GET", "/api/v1/deployments/hello/logs", Told(body=b"one\ntwo\n"))
    assert lambent("logs", "hello", "-n", "2").out == "one\ntwo\n"
    assert lambent("logs", "hello", "--json").out == '{"line":"one"}\n{"line":"two"}\n'
    assert control.asked[0].query == {"tail": "2"}


def test_rollback_and_rm_say_what_they_did(control: FakeControl, lambent: Lambent) -> None:
    control.tell("POST", "/api/v1/deployments/hello/rollback", json_told(HELLO))
    control.tell("DELETE", "/api/v1/deployments/hello", Told(status=204))
    assert lambent("rollback", "hello", "--to", "2").out == "hello is at revision 2 again\n"
    assert control.asked[0].body == b'{"to":2}'
    assert lambent("rm", "hello").out == "removed hello\n"
    assert json.loads(lambent("rm", "hello", "--json").out) == {"removed": ["hello"]}


def test_a_run_is_watched_to_its_end(control: FakeControl, lambent: Lambent) -> None:
    control.tell("POST", "/api/v1/runs", json_told(run_view("queued"), 202))
    ended = run_view("succeeded", progress=1.0, metrics={"accuracy": 0.9765}, model_number=3)
    control.tell("GET", "/api/v1/runs/run-1", json_told(ended))
    printed = lambent("run", "digits-fit", "-p", "epochs=5", "-p", "rate=1e-3", "-p", "mode=fast")
    assert (printed.code, printed.out) == (0, "run-1  succeeded  accuracy 0.9765  model 3\n")
    asked = msgspec.json.decode(control.asked[0].body, type=RunRequest)
    assert asked == RunRequest("digits-fit", {"epochs": 5, "rate": 0.001, "mode": "fast"})


def test_a_run_that_fails_fails_the_command(control: FakeControl, lambent: Lambent) -> None:
    control.tell("POST", "/api/v1/runs", json_told(run_view("failed", reason="ValueError: too weak"), 202))
    printed = lambent("run", "digits-fit")
    assert (printed.code, printed.out) == (1, "run-1  failed  ValueError: too weak\n")


def test_a_detached_run_is_not_waited_for(control: FakeControl, lambent: Lambent) -> None:
    control.tell("POST", "/api/v1/runs", json_told(run_view("queued"), 202))
    assert lambent("run", "digits-fit", "--detach").out == "run-1  queued\n"


def test_usage_shows_the_price_at_aws(control: FakeControl, lambent: Lambent) -> None:
    control.tell("GET", "/api/v1/usage", json_told(USAGE))
    header, *_, total, period, plan = lambent("usage").out.splitlines()
    columns = ["DEPLOYMENT", "INVOCATIONS", "FAILED", "COLD STARTS", "BILLED MS", "GB-S", "CPU S"]
    assert re.split(r"  +", header) == [*columns, "AWS-LAMBDA"]
    assert total.split() == ["total", "1,234", "1", "2", "12,340", "6.170", "1.50", "$0.00024680"]
    assert period.startswith("from 2027-01-1")
    assert plan == "AWS-LAMBDA: AWS Lambda, x86, us-east-1"


def test_cost_shows_every_plan(control: FakeControl, lambent: Lambent) -> None:
    unpriced = msgspec.structs.replace(USAGE, plans={**USAGE.plans, "new-plan": "since today"})
    control.tell("GET", "/api/v1/usage", json_told(unpriced))
    assert lambent("cost").out.splitlines()[-4:] == [
        "PLAN               COST  PRICES",
        "azure             $2.00  Azure Functions, consumption",
        "aws-lambda  $0.00024680  AWS Lambda, x86, us-east-1",
        "new-plan              -  since today",
    ]


@pytest.mark.parametrize(
    ("text", "unix_ms"),
    [("2026-11-30T00:00:00+00:00", 1_795_996_800_000), ("2026-11-30T00:00:00Z", 1_795_996_800_000)],
)
def test_usage_since_a_time(control: FakeControl, lambent: Lambent, text: str, unix_ms: int) -> None:
    control.tell("GET", "/api/v1/usage", json_told(USAGE))
    assert lambent("usage", "--since", text).code == 0
    assert control.asked[0].query == {"since_unix_ms": str(unix_ms)}


def test_usage_since_an_age_is_earlier_than_since_a_shorter_one(
    control: FakeControl, lambent: Lambent
) -> None:
    control.tell("GET", "/api/v1/usage", json_told(USAGE))
    for age in ("7d", "24h", "30m"):
        lambent("usage", "--since", age)
    moments = [int(asked.query["since_unix_ms"]) for asked in control.asked]
    assert moments == sorted(moments)
    assert moments[1] - moments[0] == pytest.approx(6 * 86_400_000, abs=60_000)


def test_keys_are_made_shown_once_and_revoked(control: FakeControl, lambent: Lambent) -> None:
    reply = KeyReply(KEY, "lk_k1_s", "LAMBK1", "secret")
    control.tell("POST", "/api/v1/keys", json_told(reply, 201))
    control.tell("DELETE", "/api/v1/keys/k1", Told(status=204))
    control.tell("GET", "/api/v1/keys", json_told([KEY]))
    assert "api key            lk_k1_s" in lambent("keys", "create", "ci", "--role", "deploy").out
    assert lambent("keys", "rm", "k1").out == "revoked k1\n"
    assert lambent("keys").out.splitlines()[1].split()[:3] == ["k1", "ci", "deploy"]


def test_models_and_runs_and_processes_are_tables(control: FakeControl, lambent: Lambent) -> None:
    control.tell("GET", "/api/v1/models", json_told([MODEL]))
    control.tell("GET", "/api/v1/runs", json_told([run_view("running", progress=0.5, message="epoch 2")]))
    control.tell("GET", "/api/v1/processes", json_told(PROCESSES))
    assert "accuracy 0.9765" in lambent("models", "digits").out
    assert "50%" in lambent("runs", "--job", "digits-fit").out
    assert lambent("ps").out.endswith("2 processes, 51.0 MiB in all\n")
