"""What a program is given: its command, its variables, and invocations whose heads nothing breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from lambent.clock import SystemClock
from lambent.core.spec import Program
from lambent.runtimes import runtime_api
from lambent.runtimes.base import Loading, Request
from lambent.runtimes.faults import Fault
from lambent.runtimes.runtime_api import environment, event_of, load
from lambent.wire.frames import Call
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.bootstraps import write_bootstrap

ID = "01234567-89ab-4def-a123-456789abcdef"


def plan(
    program: Program = Program.PROVIDED,
    code_dir: str = "",
    entrypoint: str = "app:handler",
    concurrency: int = 1,
    env: dict[str, str] | None = None,
) -> RevisionPlan:
    return RevisionPlan(
        revision="r",
        deployment="totals",
        project="default",
        number=1,
        runtime=Runtime.RUNTIME_API,
        program=program,
        entrypoint=entrypoint,
        code_dir=code_dir,
        concurrency=concurrency,
        env=env or {},
        function_arn="arn:aws:lambda:us-east-1:000000000000:function:totals",
    )


def head_of(call: Call, body: bytes = b"") -> tuple[list[str], bytes]:
    event = event_of(Request(call, body), plan(), 1_000_000)
    return event.head.decode("latin-1").split("\r\n")[:-1], bytes(event.body)


def test_an_invocation_is_told_in_lambdas_headers() -> None:
    lines, body = head_of(Call(1, ID, 2500.7), b'{"x": 1}')
    assert lines == [
        f"Lambda-Runtime-Aws-Request-Id: {ID}",
        "Lambda-Runtime-Deadline-Ms: 1002500",
        "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:totals",
        "Lambda-Runtime-Trace-Id: Root=1-01234567-89ab4defa123456789abcdef;Parent=a123456789abcdef;Sampled=1",
        "Content-Type: application/json",
    ]
    assert body == b'{"x": 1}'


def test_an_empty_body_is_an_empty_event_where_json_is_said() -> None:
    assert head_of(Call(1, ID, 1.0))[1] == b"{}"
    assert head_of(Call(1, ID, 1.0, "text/plain"))[1] == b""


def test_a_type_that_somebody_made_up_stays_on_its_line() -> None:
    lines, _ = head_of(Call(1, ID, 1.0, "text/plain\r\nLambda-Runtime-Trace-Id: mine"))
    assert lines[-1] == "Content-Type: text/plain Lambda-Runtime-Trace-Id: mine"


def test_a_client_context_stays_on_its_line() -> None:
    context = '{\n "custom": {"a": "€\\r\\n"}\n}'
    assert head_of(Call(1, ID, 1.0, client_context=context))[0][-1] == (
        'Lambda-Runtime-Client-Context: {"custom": {"a": "\\u20ac\\r\\n"}}'
    )
    with pytest.raises(Fault, match="Unable to parse Client Context"):
        head_of(Call(1, ID, 1.0, client_context="{"))


def test_its_variables_say_where_the_api_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python3.11")
    told = environment(plan(concurrency=3), "127.0.0.1:9")
    assert (told["AWS_LAMBDA_RUNTIME_API"], told["_HANDLER"]) == ("127.0.0.1:9", "app:handler")
    assert told["AWS_LAMBDA_MAX_CONCURRENCY"] == "3"
    assert "AWS_EXECUTION_ENV" not in told
    client = environment(plan(Program.AWSLAMBDARIC), "127.0.0.1:9")
    assert (client["_HANDLER"], client["AWS_EXECUTION_ENV"]) == ("app.handler", "AWS_Lambda_python3.11")
    assert "AWS_LAMBDA_MAX_CONCURRENCY" not in client


def test_what_is_not_there_is_said_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = Loading(SystemClock())
    with pytest.raises(Fault, match="Couldn't find valid bootstrap") as caught:
        load(plan(code_dir=str(tmp_path)), loading)
    assert caught.value.error_type == "Runtime.InvalidEntrypoint"
    write_bootstrap(tmp_path).joinpath("bootstrap").chmod(0o644)
    with pytest.raises(Fault, match="Couldn't find valid bootstrap"):
        load(plan(code_dir=str(tmp_path)), loading)
    monkeypatch.setattr(runtime_api, "CLIENT", "a_client_that_is_not_there")
    with pytest.raises(Fault, match="needs the package a_client_that_is_not_there"):
        load(plan(Program.AWSLAMBDARIC), loading)
