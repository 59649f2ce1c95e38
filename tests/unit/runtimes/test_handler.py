"""A handler sees what it would see on AWS Lambda, and its results and errors look the same."""

from pathlib import Path

import pytest

from lambent.core.invocation import Status
from tests.support.templates import Environment
from tests.support.user_code import PlanOf, Serve

ECHO = "def handler(event, context): return event"
DESCRIBE = """
    def handler(event, context):
        return [type(event).__name__, len(event) if isinstance(event, bytes) else event]
"""


@pytest.mark.parametrize(
    ("content_type", "body", "event"),
    [
        ("application/json", b'{"x": [1, 2.5, null]}', ["dict", {"x": [1, 2.5, None]}]),
        ("application/json; charset=utf-8", b"3", ["int", 3]),
        ("application/cloudevents+json", b'"x"', ["str", "x"]),
        ("", b"[1]", ["list", [1]]),
        ("application/json", b"", ["dict", {}]),
        ("text/plain; charset=utf-8", "drei äpfel".encode(), ["str", "drei äpfel"]),
        ("text/csv", b"", ["str", ""]),
        ("image/jpeg", b"\xff\xd8\xff", ["bytes", 3]),
        ("application/octet-stream", b"", ["bytes", 0]),
    ],
)
def test_an_event_is_what_its_content_type_says(
    serve: Serve, content_type: str, body: bytes, event: object
) -> None:
    assert serve(DESCRIBE).value(body, content_type=content_type) == event


def test_a_number_beyond_floats_and_half_a_surrogate_pair_are_what_lambda_makes_of_them(serve: Serve) -> None:
    worker = serve("def handler(event, context): return repr(event)")
    assert worker.value(rb'{"x": [1e999, -1e999, "\ud800"]}') == r"{'x': [inf, -inf, '\ud800']}"
    assert worker.error(b"[1e999, NaN]").error_message == "Unable to unmarshal input: NaN is not JSON"


@pytest.mark.parametrize(
    ("result", "body"),
    [
        ("None", b"null"),
        ("{'statusCode': 200, 'body': 'ok'}", b'{"statusCode":200,"body":"ok"}'),
        ("'Grüße'", '"Grüße"'.encode()),
        ("(1, 2)", b"[1,2]"),
        ("{1: 'a', 2.5: 'b'}", b'{"1":"a","2.5":"b"}'),
        ("{None: 1, True: 2}", b'{"null":1,"true":2}'),
        ("decimal.Decimal('1.25')", b"1.25"),
        ("[Text('x'), Kind.A]", b'["x",1]'),
        ("np.float32(0.5)", b"0.5"),
        ("{'y': np.arange(4).reshape(2, 2)}", b'{"y":[[0,1],[2,3]]}'),
        ("[np.int64(3), np.bool_(True)]", b"[3,true]"),
        ("float('nan')", b"null"),
        ("2**70", b"1180591620717411303424"),
        ("'\\ud800'", b'"\\ud800"'),
    ],
)
def test_a_result_is_written_as_json(serve: Serve, result: str, body: bytes) -> None:
    worker = serve(f"""
        import decimal, enum, numpy as np
        class Text(str): pass
        class Kind(enum.IntEnum): A = 1
        def handler(event, context): return {result}
    """)
    answer, said = worker.call()
    assert (answer.status, answer.content_type, said) == (Status.OK, "application/json", body)


@pytest.mark.parametrize("result", ["b'\\x00raw'", "bytearray(b'\\x00raw')", "memoryview(b'\\x00raw')"])
def test_bytes_are_given_back_as_they_are(serve: Serve, result: str) -> None:
    answer, said = serve(f"def handler(event, context): return {result}").call()
    assert (answer.content_type, said) == ("application/octet-stream", b"\x00raw")


def test_the_context_is_lambdas(serve: Serve) -> None:
    worker = serve("""
        def handler(event, context):
            context.log("to the log")
            kept = {name: getattr(context, name) for name in event}
            return kept | {"left": context.get_remaining_time_in_millis(), "shown": repr(context)}
    """)
    names = [
        "aws_request_id",
        "function_name",
        "function_version",
        "invoked_function_arn",
        "memory_limit_in_mb",
    ]
    seen = worker.value([*names, "log_group_name", "log_stream_name", "client_context"], remaining_ms=2500.0)
    assert 0 < seen.pop("left") <= 2500
    assert seen.pop("shown").startswith("LambdaContext([aws_request_id='11111111-")
    assert seen.pop("log_stream_name").startswith("2026/12/01/[3]abc")
    assert seen == {
        "aws_request_id": "11111111-2222-4333-8444-555555555555",
        "function_name": "hello",
        "function_version": "3",
        "invoked_function_arn": "arn:aws:lambda:us-east-1:000000000000:function:hello",
        "memory_limit_in_mb": "256",
        "log_group_name": "/aws/lambda/hello",
        "client_context": None,
    }
    assert worker.log.text() == "to the log"


def test_remaining_time_never_goes_below_zero(serve: Serve) -> None:
    worker = serve("def handler(event, context): return context.get_remaining_time_in_millis()")
    assert worker.value(remaining_ms=-5.0) == 0


def test_a_client_context_is_parsed(serve: Serve) -> None:
    worker = serve("""
        def handler(event, context):
            client = context.client_context
            return [client.custom, client.env, client.client.app_title, context.identity.cognito_identity_id]
    """)
    sent = '{"custom": {"a": 1}, "env": {"locale": "de"}, "client": {"app_title": "app"}, "more": 1}'
    assert worker.value(client_context=sent) == [{"a": 1}, {"locale": "de"}, "app", None]
    assert worker.error(client_context="{").error_type == "Runtime.LambdaContextUnmarshalError"


def test_an_async_handler_keeps_its_loop_between_calls(serve: Serve) -> None:
    worker = serve("""
        import asyncio
        async def handler(event, context):
            await asyncio.sleep(0)
            return id(asyncio.get_running_loop())
    """)
    assert worker.value() == worker.value()


def test_an_awaitable_result_is_awaited(serve: Serve) -> None:
    worker = serve("""
        class Later:
            def __await__(self):
                return 42
                yield
        def handler(event, context): return Later()
    """)
    assert worker.value() == 42


def test_an_async_handlers_error_has_no_frames_of_the_loop(serve: Serve) -> None:
    worker = serve("""
        import asyncio
        async def inner(): raise ValueError("later")
        async def handler(event, context): await asyncio.gather(inner())
    """)
    error = worker.error()
    assert error.error_type == "ValueError"
    assert len(error.stack_trace) == 2
    assert "app.py" in error.stack_trace[0]


def test_an_async_handler_of_a_template_makes_its_loop_in_the_worker(
    environment: Environment, plan_of: PlanOf
) -> None:
    plan = plan_of("async def handler(event, context): return event")
    template = environment.fork_template(plan)
    assert template.ready is not None
    assert template.ready.unsafe == ()
    assert [template.fork_worker(plan).value(n) for n in (1, 2)] == [1, 2]
    template.close()


def test_logging_prints_lines_as_lambda_does(serve: Serve) -> None:
    worker = serve("""
        import logging
        logging.basicConfig(level=logging.DEBUG, format="not used: there is a handler already")
        log = logging.getLogger("app")
        def handler(event, context):
            log.info("not shown")
            log.warning("low on %s", "ink")
            log.setLevel(logging.INFO)
            log.info("shown")
    """)
    worker.value()
    first, second = worker.log.text().splitlines()
    assert first.startswith("[WARNING]\t20")
    assert first.endswith("Z\t11111111-2222-4333-8444-555555555555\tlow on ink")
    assert second.endswith("\tshown")


@pytest.mark.parametrize("entrypoint", ["app:handler", "app.handler", "app:Tool.run", "app.callme"])
def test_an_entrypoint_may_be_written_in_each_of_the_common_ways(serve: Serve, entrypoint: str) -> None:
    worker = serve(
        """
        class Tool:
            @staticmethod
            def run(event, context): return event
            def __call__(self, event, context): return event
        def handler(event, context): return event
        callme = Tool()
        """,
        entrypoint,
    )
    assert worker.value("hi") == "hi"


def test_a_handler_in_a_folder_is_found(environment: Environment, plan_of: PlanOf) -> None:
    plan = plan_of("", "pkg/tool.handler")
    Path(plan.code_dir, "pkg").mkdir()
    Path(plan.code_dir, "pkg", "tool.py").write_text("from app import __file__ as other\n" + ECHO)
    assert environment.fork_worker(plan).value(1) == 1


@pytest.mark.parametrize(
    ("code", "entrypoint", "error_type", "message"),
    [
        ("import nothing_here", "app:handler", "Runtime.ImportModuleError",
         "Unable to import module 'app': No module named 'nothing_here'"),
        ("from json import nothing", "app:handler", "Runtime.ImportModuleError",
         "Unable to import module 'app': cannot import name 'nothing' from 'json'"),
        ("", "other:handler", "Runtime.ImportModuleError",
         "Unable to import module 'other': No module named 'other'"),
        ("x = 1", "app:handler", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"),
        ("handler = 3", "app:handler", "Runtime.HandlerNotFound",
         "Handler 'app:handler' is not callable: it is a int"),
        ("def handler(:", "app:handler", "Runtime.UserCodeSyntaxError",
         "Syntax error in module 'app': invalid syntax (app.py, line 1)"),
        ("", "handler", "Runtime.MalformedHandlerName",
         "Bad handler 'handler': not enough values to unpack (expected 2, got 1)"),
        ("", "sys.handler", "Runtime.BuiltInModuleConflict",
         "Cannot use built-in module sys as a handler module"),
        ("1 / 0", "app:handler", "ZeroDivisionError", "division by zero"),
    ],
)  # fmt: skip
def test_code_that_cannot_be_loaded_fails_with_lambdas_words(
    environment: Environment, plan_of: PlanOf, code: str, entrypoint: str, error_type: str, message: str
) -> None:
    error = environment.load_error(plan_of(code, entrypoint))
    assert (error.error_type, error.request_id) == (error_type, "")
    assert error.error_message.startswith(message)


def test_a_syntax_error_shows_the_line(environment: Environment, plan_of: PlanOf) -> None:
    plan = plan_of("x = 1\n  y = 2\n")
    error = environment.load_error(plan)
    assert error.stack_trace == (f'  File "{plan.code_dir}/app.py" Line 2\n    y = 2',)


def test_a_file_named_like_a_loaded_module_is_refused_and_not_passed_over(
    environment: Environment, plan_of: PlanOf
) -> None:
    plan = plan_of("", "json:handler")
    Path(plan.code_dir, "json.py").write_text(ECHO)
    error = environment.load_error(plan)
    assert error.error_type == "Runtime.ImportModuleError"
    assert error.error_message.endswith("; rename json.py")
