"""Templates and workers are born, serve and end as the server says, and never outlive their parent."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from lambent.core.invocation import Status
from lambent.wire.frames import Call, encode
from lambent.wire.process import ChildRole, Exited, Failed, Fork, Ready
from tests.support.patience import PATIENT_S
from tests.support.templates import Environment, Gone, plan_for, watched
from tests.support.user_code import PlanOf, Serve

HELLO = "def handler(event, context): return event"


def test_an_environment_is_ready_when_its_packages_are_imported(environment: Environment) -> None:
    assert environment.ready is not None
    assert environment.ready.pid == environment.pid
    assert environment.ready.parts_ms.keys() == {"exec", "import"}
    assert environment.ready.parts_ms["exec"] > 0
    assert environment.ready.unsafe == ()


def test_a_worker_of_a_revision_template_needs_no_load(environment: Environment, plan_of: PlanOf) -> None:
    plan = plan_of("import os\nloaded_in = os.getpid()\ndef handler(event, context): return loaded_in")
    template = environment.fork_template(plan)
    assert template.ready is not None
    assert template.ready.parts_ms.keys() == {"fork", "init", "practice"}
    assert template.ready.unsafe == ()
    first, second = template.fork_worker(plan), template.fork_worker(plan)
    assert first.parts_ms.keys() == {"fork", "restore"}
    assert first.value() == second.value() == template.pid
    template.close()


def test_a_worker_of_an_environment_loads_by_itself(environment: Environment, plan_of: PlanOf) -> None:
    plan = plan_of("import os\nloaded_in = os.getpid()\ndef handler(event, context): return loaded_in")
    worker = environment.fork_worker(plan)
    assert worker.parts_ms.keys() == {"fork", "restore", "init"}
    assert worker.value() == worker.pid


def test_a_template_does_not_serve_another_revision_with_what_it_loaded(
    environment: Environment, plan_of: PlanOf
) -> None:
    plan = plan_of(HELLO)
    template = environment.fork_template(plan)
    other = template.fork_worker(msgspec.structs.replace(plan, revision="another"))
    assert "init" in other.parts_ms
    assert other.value(1) == 1
    template.close()


def test_a_killed_environment_takes_templates_and_workers_along(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import time\ndef handler(event, context): time.sleep(60)")
    plan = plan_for(tmp_path)
    with Environment(tmp_path) as environment:
        template = environment.fork_template(plan)
        busy, idle = template.fork_worker(plan), environment.fork_worker(plan)
        busy.send()
        with watched(template.pid) as first, watched(busy.pid) as second, watched(idle.pid) as third:
            environment.process.kill()
            assert first.came()
            assert second.came()
            assert third.came()


def test_a_killed_template_takes_its_workers_along_and_nobody_elses(
    environment: Environment, plan_of: PlanOf
) -> None:
    plan = plan_of(HELLO)
    template = environment.fork_template(plan)
    taken, left = template.fork_worker(plan), environment.fork_worker(plan)
    with watched(template.pid) as template_ends, watched(taken.pid) as worker_ends:
        template_ends.kill()
        assert worker_ends.came()
    assert os.waitstatus_to_exitcode(environment.exit_of(template).status) == -signal.SIGKILL
    assert left.value("alive") == "alive"


def test_a_template_whose_server_has_gone_ends_with_its_workers(
    environment: Environment, plan_of: PlanOf
) -> None:
    plan = plan_of("import time\ndef handler(event, context): time.sleep(60)")
    template = environment.fork_template(plan)
    worker = template.fork_worker(plan)
    worker.send()
    with watched(worker.pid) as ending:
        template.close()
        assert ending.came()
    assert environment.exit_of(template).status == 0


def test_every_end_of_many_at_once_is_reported(environment: Environment, plan_of: PlanOf) -> None:
    plan = plan_of("import os\ndef handler(event, context): os._exit(event)")
    workers = [environment.fork_worker(plan) for _ in range(12)]
    for code, worker in enumerate(workers):
        worker.send(code)
    exits = [environment.exit_of(worker) for worker in workers]
    assert [os.waitstatus_to_exitcode(each.status) for each in exits] == list(range(12))
    assert all(each.cpu_us > 0 and each.rss_bytes_max > 0 for each in exits)


def test_ends_are_reported_although_user_code_ignores_its_children(
    environment: Environment, plan_of: PlanOf
) -> None:
    plan = plan_of("import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n" + HELLO)
    template = environment.fork_template(plan)
    worker = template.fork_worker(plan)
    worker.stop()
    assert template.exit_of(worker).status == 0
    template.close()


@pytest.mark.parametrize("how", ["stop", "close", "SIGTERM"])
def test_an_idle_worker_ends_when_it_is_asked_to(environment: Environment, serve: Serve, how: str) -> None:
    worker = serve(HELLO)
    worker.value()
    {"stop": worker.stop, "close": worker.close}.get(how, lambda: os.kill(worker.pid, signal.SIGTERM))()
    assert environment.exit_of(worker).status == 0


@pytest.mark.parametrize("how", ["stop", "SIGTERM"])
def test_a_busy_worker_finishes_its_invocation_before_it_stops(
    environment: Environment, serve: Serve, tmp_path: Path, how: str
) -> None:
    (tmp_path / "code").mkdir()
    os.mkfifo(tmp_path / "code" / "gate")
    worker = serve("def handler(event, context):\n    print('in')\n    return open('gate').read()")
    worker.send()
    gate = (tmp_path / "code" / "gate").open("w")  # opens when the handler is there to read
    worker.stop() if how == "stop" else os.kill(worker.pid, signal.SIGTERM)
    gate.write("finished")
    gate.close()
    answer, body = worker.answer()
    assert (answer.status, body) == (Status.OK, b'"finished"')
    assert answer.retiring is (how == "SIGTERM")  # the server does not know of it, and would send the next
    assert environment.exit_of(worker).status == 0


def test_calls_that_were_sent_ahead_are_answered_in_their_order(serve: Serve) -> None:
    worker = serve(HELLO)
    worker.write(b"".join(encode(Call(n, f"id-{n}", 1000.0), b"%d" % n) for n in range(50)))
    answers = [worker.answer() for _ in range(50)]
    assert [(answer.call_id, body) for answer, body in answers] == [(n, b"%d" % n) for n in range(50)]


def test_an_interrupt_at_the_terminal_ends_nobody(environment: Environment, plan_of: PlanOf) -> None:
    plan = plan_of(HELLO)
    template = environment.fork_template(plan)
    worker = template.fork_worker(plan)
    for pid in (environment.pid, template.pid, worker.pid):
        os.kill(pid, signal.SIGINT)
    os.kill(template.pid, signal.SIGTERM)
    assert worker.value("alive") == "alive"
    assert template.fork_worker(plan).value("alive") == "alive"
    template.close()


def test_large_bodies_pass_whole_in_both_directions(serve: Serve) -> None:
    worker = serve("def handler(event, context): return event + b'!'")
    body = os.urandom(20 << 20)
    answer, said = worker.call(body, content_type="application/octet-stream")
    assert said == body + b"!"
    assert answer.content_type == "application/octet-stream"


def test_a_frame_cut_in_pieces_is_put_together(serve: Serve) -> None:
    worker = serve(HELLO)
    for byte in encode(Call(1, "id", 1000.0), b'"drip"'):
        worker.write(bytes([byte]))
    assert worker.answer()[1] == b'"drip"'


def test_a_header_over_the_maximum_ends_the_worker(environment: Environment, serve: Serve) -> None:
    worker = serve(HELLO)
    worker.write((1 << 30).to_bytes(4, "little") + bytes(4))
    assert os.waitstatus_to_exitcode(environment.exit_of(worker).status) == 70
    assert "FrameError" in worker.log.text()


def test_a_revision_that_cannot_be_loaded_says_why_and_its_template_ends(
    environment: Environment, plan_of: PlanOf
) -> None:
    plan = plan_of("print('trying')\nraise RuntimeError('no licence')")
    template = environment.start_template(plan)
    failed = template.expect(Failed)
    assert (failed.error.error_type, failed.error.error_message) == ("RuntimeError", "no licence")
    assert len(failed.error.stack_trace) == 1
    assert environment.exit_of(template).status == 1 << 8
    assert template.log.text().startswith("trying\n[ERROR] RuntimeError: no licence\n")
    assert environment.load_error(plan) == failed.error


@pytest.mark.parametrize("last", ["sys.exit(5)", "raise KeyboardInterrupt"])
def test_a_load_that_ends_its_process_is_reported_too(
    environment: Environment, plan_of: PlanOf, last: str
) -> None:
    template = environment.start_template(plan_of(f"import sys\n{last}\n"))
    assert template.expect(Failed).error.error_type in {"Runtime.ExitError", "KeyboardInterrupt"}
    assert environment.exit_of(template).status == 1 << 8


def test_a_load_over_the_memory_limit_is_reported(environment: Environment, plan_of: PlanOf) -> None:
    plan = plan_of("table = bytearray(200 << 20)", memory_bytes=32 << 20)
    assert environment.start_template(plan).expect(Failed).error.error_type == "MemoryError"


def test_a_fork_that_the_machine_refuses_is_reported_as_an_end(
    environment: Environment, plan_of: PlanOf
) -> None:
    # User code takes the machine's part: a limit on processes does not bind root.
    refuse = "import os\ndef no(): raise BlockingIOError(11, 'try again')\nos.fork = no\n"
    plan = plan_of(refuse + HELLO)
    template = environment.fork_template(plan)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        template.send(Fork("w", ChildRole.WORKER, plan), [theirs.fileno(), theirs.fileno()])
        gone = template.expect(Exited)
    assert (gone.pid, os.waitstatus_to_exitcode(gone.status)) == (0, 11)
    template.close()


@pytest.mark.parametrize(
    ("source", "error_type"),
    [
        ("raise ImportError('wrong library')", "ImportError"),
        ("import not_there_either", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "Runtime.ExitError"),
    ],
)
def test_a_package_that_breaks_when_imported_fails_its_environment(
    tmp_path: Path, source: str, error_type: str
) -> None:
    (tmp_path / "broken_package.py").write_text(source)
    environment = Environment(tmp_path, imports=["broken_package"], env={"PYTHONPATH": str(tmp_path)})
    failed = environment.expect(Failed)
    assert failed.error.error_type == error_type
    with pytest.raises(Gone):
        environment.expect(Ready)
    assert environment.process.wait(PATIENT_S) == 1
    environment.close()


def test_without_its_options_the_command_says_how_it_is_used() -> None:
    command = [sys.executable, "-m", "lambent.worker.main", "--imports", "json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENT_S)
    assert ended.returncode == 64
    assert ended.stderr.startswith("usage: ")
