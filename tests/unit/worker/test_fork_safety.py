"""A template looks at itself before it is forked, and says what speaks against it."""

from pathlib import Path

import pytest

from tests.support.templates import Environment
from tests.support.user_code import PlanOf

HANDLER = "\ndef handler(event, context): return event\n"


FOREVER = "threading.Event().wait"


@pytest.mark.parametrize(
    ("module", "load", "said"),
    [
        (
            "threading",
            f"threading.Thread(target={FOREVER}, name='poller').start()",
            "a thread is running: poller",
        ),
        ("socket", "s = socket.create_server(('127.0.0.1', 0))", "a socket is open (descriptor "),
        ("socket", "a, b = socket.socketpair()", "a socket is open to a process (descriptor "),
        ("builtins", "f = open('scratch.txt', 'w')", "a file is open for writing: "),
        ("builtins", "f = open('scratch.txt', 'a+')", "a file is open for writing: "),
        ("os", "pipe = os.pipe()", "a pipe is open (descriptor "),
        ("asyncio", "loop = asyncio.new_event_loop()", "[eventpoll] is open, as of an event loop"),
        ("subprocess", "c = subprocess.Popen(['sleep', '60'])", "a child process is running: "),
    ],
)
def test_what_a_fork_would_share_is_named(
    environment: Environment, plan_of: PlanOf, module: str, load: str, said: str
) -> None:
    template = environment.fork_template(plan_of(f"import {module}\n{load}{HANDLER}"))
    assert template.ready is not None
    assert any(reason.startswith(said) for reason in template.ready.unsafe), template.ready
    template.close()


def test_who_is_at_the_other_end_of_a_socket_is_named(environment: Environment, plan_of: PlanOf) -> None:
    load = """
        import socket
        listener = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        def handler(event, context): pass
    """
    template = environment.fork_template(plan_of(load))
    assert template.ready is not None
    assert any(reason.startswith("a socket is open to 127.0.0.1:") for reason in template.ready.unsafe)
    template.close()


def test_a_thread_that_python_does_not_know_is_named_as_the_kernel_does(
    environment: Environment, plan_of: PlanOf
) -> None:
    load = """
        import _thread
        started, never = _thread.allocate_lock(), _thread.allocate_lock()
        def work():
            open("/proc/thread-self/comm", "w").write("blas-worker")
            started.release()
            never.acquire()
        started.acquire(), never.acquire()
        _thread.start_new_thread(work, ())
        started.acquire()
        def handler(event, context): pass
    """
    template = environment.fork_template(plan_of(load))
    assert template.ready is not None
    assert template.ready.unsafe == ("a thread is running: blas-worker",)
    template.close()


def test_nothing_speaks_against_plain_code(environment: Environment, plan_of: PlanOf, tmp_path: Path) -> None:
    (tmp_path / "table.txt").write_text("x")
    load = f"import json, numpy, onnxruntime, asyncio\nt = open({str(tmp_path / 'table.txt')!r})\n"
    template = environment.fork_template(plan_of(load + HANDLER))
    assert template.ready is not None
    assert template.ready.unsafe == ()
    template.close()


def test_an_environment_whose_packages_start_threads_says_so(tmp_path: Path) -> None:
    source = f"import threading\nthreading.Thread(target={FOREVER}, name='eager').start()\n"
    (tmp_path / "eager_package.py").write_text(source)
    with Environment(tmp_path, imports=["eager_package"], env={"PYTHONPATH": str(tmp_path)}) as environment:
        assert environment.ready is not None
        assert environment.ready.unsafe == ("a thread is running: eager",)
