"""AWS's own Runtime Interface Client for Python, as it comes from its package, against the worker's API."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Reply, RunningServer

HANDLER = """
import json, logging, os, sys, threading, time
from snapshot_restore_py import register_after_restore, register_before_snapshot

steps = []
register_before_snapshot(steps.append, "before")
register_after_restore(steps.append, "after")
logging.getLogger().setLevel("INFO")
print("init of", os.getpid())

if os.environ.get("INIT") == "error":
    import module_that_is_missing

def handler(event, context):
    what = event.get("do") if isinstance(event, dict) else None
    if what == "raise":
        raise KeyError("asked to")
    if what == "exit":
        sys.exit(5)
    if what == "bytes":
        return b"\\x00\\xff"
    if what == "unwritable":
        return {1, 2}
    if what == "hang":
        time.sleep(3600)
    if what == "log":
        logging.getLogger().info("two\\nlines")
        print("printed")
    if what == "meet":
        with open(event["folder"] + "/" + str(event["n"]), "w"):
            pass
        while len(os.listdir(event["folder"])) < event["of"]:
            time.sleep(0.005)
    custom = context.client_context.custom if context.client_context else None
    return {"event": event if isinstance(event, (dict, list)) else repr(event), "pid": os.getpid(),
            "id": context.aws_request_id, "arn": context.invoked_function_arn, "custom": custom,
            "left_ms": context.get_remaining_time_in_millis(), "steps": steps, "cwd": os.getcwd(),
            "name": context.function_name, "memory": context.memory_limit_in_mb,
            "xray": os.environ.get("_X_AMZN_TRACE_ID"), "by": os.environ["AWS_EXECUTION_ENV"],
            "client": "awslambdaric" in sys.modules}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("code") / "app.py"
    path.write_text(HANDLER)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, file: Path) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("ric") / "state").start()
    try:
        deploy(running, file, "ric")
        yield running
    finally:
        assert running.stop() == 0, running.log()


def deploy(server: RunningServer, file: Path, name: str, *settings: str) -> None:
    words = [word for one in ("runtime=awslambdaric", *settings) for word in ("--set", one)]
    server.deploy(f"{file}:handler", "--name", name, *words)


def do(server: RunningServer, what: str, name: str = "ric", **more: Any) -> Reply:
    return server.invoke(name, {"do": what, **more})


def told(reply: Reply) -> tuple[str, str]:
    document = reply.json()
    return document["error_type"], document["detail"]


def test_a_handler_sees_what_it_sees_on_aws(server: RunningServer) -> None:
    context = base64.b64encode(json.dumps({"custom": {"a": "€"}}).encode()).decode()
    reply = server.request(
        "POST",
        "/2015-03-31/functions/ric/invocations",
        b'{"x": 1}',
        X_Amz_Client_Context=context,
        X_Amzn_Trace_Id=f"Root=1-{'a' * 8}-{'b' * 24};Parent={'c' * 16};Sampled=1",
    )
    assert reply.status == 200, reply.body
    seen = reply.json()
    assert seen["client"]
    assert (seen["event"], seen["custom"], seen["name"]) == ({"x": 1}, {"a": "€"}, "ric")
    assert seen["id"] == reply.headers["x-amzn-requestid"]
    assert seen["arn"].endswith(":function:ric")
    assert seen["xray"] == f"Root=1-{'a' * 8}-{'b' * 24};Parent={'c' * 16};Sampled=1"
    assert 0 < seen["left_ms"] <= 60_000
    assert (seen["memory"], seen["steps"]) == ("512", [])
    assert server.invoke("ric", b"").json()["event"] == {}


def test_what_it_returns_comes_as_it_is(server: RunningServer) -> None:
    reply = do(server, "bytes")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/octet-stream")
    assert reply.body == b"\x00\xff"
    raw = server.request("POST", "/invoke/ric", b"\x01\x02", Content_Type="application/octet-stream")
    assert raw.json()["event"] == repr(b"\x01\x02")
    big = {"text": "x" * (5 << 20)}
    assert server.invoke("ric", big).json()["event"] == big


def test_its_errors_are_those_of_aws(server: RunningServer) -> None:
    assert told(do(server, "raise")) == ("KeyError", "'asked to'")
    assert told(do(server, "unwritable"))[0] == "Runtime.MarshalError"
    kind, message = told(do(server, "exit"))
    assert kind == "Runtime.ExitError"
    assert "exit status 5" in message
    assert do(server, "echo").status == 200


def test_the_invocation_payload_of_an_error_is_the_clients_own(server: RunningServer) -> None:
    reply = server.request("POST", "/2015-03-31/functions/ric/invocations", b'{"do": "raise"}')
    assert (reply.status, reply.headers["x-amz-function-error"]) == (200, "Unhandled")
    payload = reply.json()
    assert set(payload) == {"errorMessage", "errorType", "requestId", "stackTrace"}
    assert (payload["errorType"], payload["requestId"]) == ("KeyError", reply.headers["x-amzn-requestid"])
    assert "raise KeyError" in payload["stackTrace"][0]


def test_one_that_is_over_its_time_is_replaced(server: RunningServer, file: Path) -> None:
    deploy(server, file, "hasty", "timeout_s=1")
    pid = do(server, "echo", "hasty").json()["pid"]
    assert told(do(server, "hang", "hasty"))[0] == "Sandbox.Timedout"
    assert do(server, "echo", "hasty").json()["pid"] != pid


def test_what_cannot_be_imported_is_said_in_the_clients_words(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import os\nif os.environ.get('AWS_LAMBDA_RUNTIME_API'):\n    import not_there\n"
        "def handler(event, context): ...\n"
    )
    done = server.cli("deploy", f"{tmp_path}/app.py", "--set", "runtime=awslambdaric")
    assert done.returncode == 1
    said = "Runtime.ImportModuleError: Unable to import module 'app': No module named 'not_there'"
    assert said in done.stderr


def test_a_log_keeps_its_lines_together(server: RunningServer) -> None:
    answer = server.request(
        "POST", "/2015-03-31/functions/ric/invocations", b'{"do": "log"}', X_Amz_Log_Type="Tail"
    )
    tail = base64.b64decode(answer.headers["x-amz-log-result"]).decode()
    assert "two\nlines\n" in tail
    assert "printed" in tail  # its end comes in a write of its own, and what is logged may come between
    assert f"\t{answer.headers['x-amzn-requestid']}\t" in tail


def test_its_restore_hooks_run(server: RunningServer, file: Path) -> None:
    deploy(server, file, "snapped", "env.AWS_LAMBDA_INITIALIZATION_TYPE=snap-start")
    assert do(server, "echo", "snapped").json()["steps"] == ["before", "after"]


def test_one_program_answers_several_at_once(server: RunningServer, file: Path, tmp_path: Path) -> None:
    deploy(server, file, "many", "concurrency=3", "workers_max=1")
    folder = tmp_path / "met"
    folder.mkdir()
    with ThreadPoolExecutor(3) as threads:
        replies = list(
            threads.map(lambda n: do(server, "meet", "many", n=n, of=3, folder=str(folder)), range(3))
        )
    assert [reply.status for reply in replies] == [200] * 3
    assert len({reply.json()["pid"] for reply in replies}) == 3
    assert server.deployment("many")["workers"] == 1


POWERTOOLS = """
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

logger, metrics = Logger(service="orders"), Metrics(namespace="shop", service="orders")

@metrics.log_metrics(capture_cold_start_metric=True)
@logger.inject_lambda_context(correlation_id_path="order")
def handler(event, context):
    logger.info("taken")
    metrics.add_metric(name="Taken", unit=MetricUnit.Count, value=1)
    return {"id": context.aws_request_id}
"""


def test_powertools_log_and_measure_as_on_aws(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "orders.py").write_text(POWERTOOLS)
    deploy(server, tmp_path / "orders.py", "orders")
    answer = server.request(
        "POST", "/2015-03-31/functions/orders/invocations", b'{"order": "o-7"}', X_Amz_Log_Type="Tail"
    )
    tail = base64.b64decode(answer.headers["x-amz-log-result"]).decode()
    printed = [json.loads(line) for line in tail.splitlines() if line.startswith("{")]
    said = next(line for line in printed if line.get("message") == "taken")
    assert said["function_request_id"] == answer.json()["id"] == answer.headers["x-amzn-requestid"]
    assert (said["correlation_id"], said["function_name"], said["cold_start"]) == ("o-7", "orders", True)
    assert {"Taken", "ColdStart"} <= {name for line in printed if "_aws" in line for name in line}
