"""Whatever user code does, the caller gets a clear answer, and the worker knows whether it may go on."""

import os

import pytest

from lambent.core.invocation import Status
from tests.support.templates import Environment, Gone, Worker, watched
from tests.support.user_code import PlanOf, Serve

ECHO = "\n    return event\n"


def went_on(worker: Worker) -> bool:
    answer, _ = worker.call({"well": True})
    return answer.status is Status.OK and not answer.retiring


def test_an_exception_comes_with_its_trace_and_without_our_frames(serve: Serve) -> None:
    worker = serve("""
        def inner(): raise LookupError("no such digit")
        def handler(event, context):
            if event: return event
            inner()
    """)
    error = worker.error(b"")
    assert (error.error_type, error.error_message) == ("LookupError", "no such digit")
    assert error.request_id == "11111111-2222-4333-8444-555555555555"
    assert len(error.stack_trace) == 2
    assert error.stack_trace[0].startswith('  File "')
    assert "in handler\n    inner()\n" in error.stack_trace[0]
    assert "[ERROR] LookupError: no such digit\nTraceback (most recent call last):\n" in worker.log.text()
    assert went_on(worker)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("object()", "Object of type object is not JSON serializable"),
        ("{1, 2}", "Object of type set is not JSON serializable"),
        ("{'at': __import__('datetime').datetime.now()}", "Object of type datetime is not JSON serializable"),
        ("{'raw': b'x'}", "Object of type bytes is not JSON serializable"),
        ("handler", "Object of type function is not JSON serializable"),
        ("map(str, [1])", "Object of type map is not JSON serializable"),
        ("{('a', 1): 2}", "keys must be str, int, float, bool or None, not tuple"),
        ("itself", "Circular reference detected"),
    ],
)
def test_a_result_that_is_not_json_is_a_marshal_error(serve: Serve, result: str, text: str) -> None:
    worker = serve(f"""
        itself = []
        itself.append(itself)
        def handler(event, context): return event or {result}
    """)
    error = worker.error(b"")
    assert error.error_type == "Runtime.MarshalError"
    assert error.error_message == f"Unable to marshal response: {text}"
    assert went_on(worker)


@pytest.mark.parametrize(
    ("raised", "error_type", "message"),
    [
        ("KeyboardInterrupt()", "KeyboardInterrupt", ""),
        ("GeneratorExit('over')", "GeneratorExit", "over"),
        ("Own('mine')", "Own", "mine"),
        ("Rude()", "Rude", "its message cannot be shown: __str__ raised ZeroDivisionError"),
        ("Ruder()", "Ruder", "its message cannot be shown: __str__ raised SystemExit"),
        ("StopIteration(3)", "StopIteration", "3"),
        ("ValueError('\\ud800')", "ValueError", "\\ud800"),
        ("ValueError('x' * 100_000)", "ValueError", "x" * 8192 + " … (100000 characters)"),
    ],
)
def test_anything_that_can_be_raised_is_answered(
    serve: Serve, raised: str, error_type: str, message: str
) -> None:
    worker = serve(f"""
        class Own(BaseException): pass
        class Rude(Exception):
            def __str__(self): return 1 / 0
        class Ruder(Exception):
            def __str__(self): raise SystemExit
        def handler(event, context):
            if event: return event
            raise {raised}
    """)
    error = worker.error(b"")
    assert (error.error_type, error.error_message) == (error_type, message)
    assert went_on(worker)


def test_an_endless_recursion_is_answered_with_a_short_trace(serve: Serve) -> None:
    worker = serve("""
        def handler(event, context): return event or again(event, context)
        def again(event, context): return handler(event, context)
    """)
    error = worker.error(b"0")
    assert error.error_type == "RecursionError"
    assert len(error.stack_trace) == 65
    assert "more frames" in error.stack_trace[32]
    assert went_on(worker)


@pytest.mark.parametrize(
    ("argument", "code"), [("", 0), ("0", 0), ("3", 3), ("'bye'", 1), ("None", 0), ("-1", 255)]
)
def test_sys_exit_is_answered_and_then_obeyed(
    environment: Environment, serve: Serve, argument: str, code: int
) -> None:
    worker = serve(f"import sys\ndef handler(event, context): sys.exit({argument})\n")
    answer, body = worker.call()
    assert (answer.status, answer.retiring) == (Status.EXITED, True)
    how = f"with error: exit status {code}" if code else "without providing a reason"
    assert f"RequestId: 11111111-2222-4333-8444-555555555555 Error: Runtime exited {how}".encode() in body
    assert b"Runtime.ExitError" in body
    assert os.waitstatus_to_exitcode(environment.exit_of(worker).status) == code
    said = worker.log.text()
    assert said.endswith(f"Runtime exited {how}\nRuntime.ExitError\n")
    assert said.count("Runtime exited") == 1
    assert argument != "'bye'" or "bye\n" in said


@pytest.mark.parametrize(
    ("last", "code"), [("os._exit(7)", 7), ("os.kill(os.getpid(), 9)", -9), ("os.abort()", -6)]
)
def test_a_process_that_ends_in_the_middle_is_reaped_with_its_status(
    environment: Environment, serve: Serve, last: str, code: int
) -> None:
    worker = serve(f"import os\ndef handler(event, context):\n    print('last words')\n    {last}\n")
    with pytest.raises(Gone):
        worker.call()
    assert os.waitstatus_to_exitcode(environment.exit_of(worker).status) == code
    assert "last words" in worker.log.text()


def test_memory_over_the_limit_is_answered_and_retires_the_worker(
    environment: Environment, serve: Serve
) -> None:
    worker = serve(
        "def handler(event, context):\n    hog = bytearray(200 << 20)\n    return len(hog)\n",
        memory_bytes=64 << 20,
    )
    answer, body = worker.call()
    assert (answer.status, answer.retiring) == (Status.FAILED, True)
    assert b'"errorType":"MemoryError"' in body
    assert os.waitstatus_to_exitcode(environment.exit_of(worker).status) == 0


def test_memory_is_counted_by_what_is_held_and_not_by_what_was_loaded_before(serve: Serve) -> None:
    worker = serve(
        "def handler(event, context):\n    hog = bytearray(event << 20)\n    return len(hog)\n",
        memory_bytes=64 << 20,
    )
    assert [worker.value(48) for _ in range(5)] == [48 << 20] * 5


def test_many_small_objects_over_the_limit_are_answered_too(serve: Serve) -> None:
    worker = serve(
        "def handler(event, context):\n    hog = []\n    while True: hog.append(str(len(hog)) * 10)\n",
        memory_bytes=32 << 20,
    )
    answer, body = worker.call()
    assert answer.retiring
    assert b'"errorType":"MemoryError"' in body


def test_a_body_that_does_not_fit_is_answered_and_the_next_one_is_served(serve: Serve) -> None:
    worker = serve("def handler(event, context): return len(event)", memory_bytes=32 << 20)
    error = worker.error(b'"' + b"x" * (64 << 20) + b'"')
    assert error.error_type == "BodyTooLarge"
    assert "does not fit into the function's memory" in error.error_message
    assert worker.value("abc") == 3


@pytest.mark.parametrize(
    "damage",
    [
        "os.close(1)",
        "os.close(2)",
        "os.closerange(0, 256)",
        "sys.stdout.close()",
        "sys.stderr.close(); sys.stdout = None",
        "sys.stdout = object()",
        "os.dup2(os.open(os.devnull, os.O_WRONLY), 1)",
    ],
)
def test_outputs_that_were_damaged_are_repaired_and_the_worker_retires(
    environment: Environment, serve: Serve, damage: str
) -> None:
    worker = serve(f"import os, sys\ndef handler(event, context):\n    {damage}\n    return 'still here'\n")
    answer, body = worker.call()
    assert (answer.status, answer.retiring, body) == (Status.OK, True, b'"still here"')
    assert os.waitstatus_to_exitcode(environment.exit_of(worker).status) == 0


def test_an_error_after_the_outputs_were_closed_still_has_its_trace(serve: Serve) -> None:
    worker = serve(
        "import sys\ndef handler(event, context):\n    sys.stderr.close()\n    raise ValueError('oh')\n"
    )
    error = worker.error()
    assert (error.error_type, len(error.stack_trace)) == ("ValueError", 1)


def test_a_handler_that_forks_is_answered_once(serve: Serve) -> None:
    worker = serve("""
        import os
        def handler(event, context):
            pid = os.fork()
            if event == "raise" and not pid: raise ValueError("in the child")
            if event == "exit" and not pid: raise SystemExit(9)
            if pid: return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    """)
    assert [worker.value(how) for how in ("return", "raise", "exit", "return")] == [0, 1, 9, 0]
    assert "ValueError: in the child" in worker.log.text()


def test_a_module_that_forks_when_it_is_imported_is_loaded_once(
    environment: Environment, serve: Serve, plan_of: PlanOf
) -> None:
    source = """
        import os
        child = os.fork()
        if child: os.waitpid(child, 0)
        def handler(event, context): return os.getpid()
    """
    worker = serve(source)
    assert worker.value() == worker.pid
    plan = plan_of(source)
    template = environment.fork_template(plan)
    worker = template.fork_worker(plan)
    assert (worker.value(), template.ready and template.ready.pid) == (worker.pid, template.pid)
    template.close()


def test_what_a_child_raises_in_the_middle_of_an_import_is_not_the_modules_error(
    environment: Environment, serve: Serve, plan_of: PlanOf
) -> None:
    source = """
        import os
        child = os.fork()
        if not child: raise ValueError("in the child")
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        def handler(event, context): return code
    """
    assert serve(source).value() == 1
    plan = plan_of(source)
    template = environment.fork_template(plan)
    assert template.fork_worker(plan).value() == 1
    assert "ValueError: in the child" in template.log.text()
    template.close()


def test_a_process_that_user_code_forks_does_not_hold_the_workers_stream(serve: Serve) -> None:
    worker = serve("""
        import os
        def handler(event, context):
            reader, writer = os.pipe()
            if os.fork() == 0:
                sockets = 0
                for name in os.listdir("/proc/self/fd"):
                    try: sockets += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
                    except OSError: pass
                os.write(writer, str(sockets).encode())
                os._exit(0)
            os.wait()
            return os.read(reader, 10).decode()
    """)
    assert worker.value() == "0"


def test_what_a_worker_started_can_be_killed_with_it(serve: Serve) -> None:
    worker = serve("""
        import os, subprocess
        def handler(event, context):
            child = subprocess.Popen(["sleep", "60"])
            return [os.getsid(0), os.getpgid(child.pid), child.pid]
    """)
    session, group, child = worker.value()
    assert session == group == worker.pid
    with watched(child) as ending:
        os.killpg(worker.pid, 9)
        assert ending.came()


def test_a_megabyte_of_prints_arrives_before_the_answer(serve: Serve) -> None:
    worker = serve(
        "def handler(event, context):\n    for _ in range(1024): print('x' * 1023)\n    print('end', end='')"
    )
    worker.value()
    assert len(worker.log.text()) == 1024 * 1024 + 3


def test_a_call_that_is_not_json_says_so(serve: Serve) -> None:
    worker = serve("def handler(event, context): return event")
    error = worker.error(b'{"x": ')
    assert error.error_type == "Runtime.UnmarshalError"
    assert "Unable to unmarshal input: Expecting value: line 1 column 7 (char 6)" in error.error_message
    assert went_on(worker)


def test_threads_left_behind_do_not_disturb(serve: Serve) -> None:
    worker = serve("""
        import threading
        def handler(event, context):
            threading.Thread(target=threading.Event().wait, name="forgotten").start()
            return threading.active_count()
    """)
    assert [worker.value(), worker.value()] == [2, 3]


def test_a_crash_in_foreign_code_shows_in_the_log_where_it_was(
    environment: Environment, serve: Serve
) -> None:
    worker = serve("import ctypes\ndef handler(event, context): return ctypes.string_at(0)\n")
    with pytest.raises(Gone):
        worker.call()
    assert os.waitstatus_to_exitcode(environment.exit_of(worker).status) == -11
    assert "Segmentation fault" in worker.log.text()
    assert "in handler" in worker.log.text()
