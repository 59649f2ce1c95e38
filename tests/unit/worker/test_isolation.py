"""A worker has its own descriptors, limits, variables and chance, whatever its template and siblings have."""

import os
import resource
import sys
from pathlib import Path

import pytest

from tests.support.templates import Environment, plan_for
from tests.support.user_code import PlanOf, Serve

LIST_FDS = """
    import os
    def handler(event, context):
        return sorted(
            os.readlink(f"/proc/self/fd/{name}").partition(":")[0]
            for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")
        )
"""
DRAW = """
    import copy, random
    import numpy as np
    random.seed(7)
    np.random.seed(7)
    unseeded, seeded = np.random.default_rng(), np.random.default_rng(7)
    own, written = random.Random(), random.Random(7)
    sources = [random, np.random, unseeded, own, seeded, written, copy.copy(written)]
    [source.random() for source in sources]
    def handler(event, context):
        return [source.random() for source in sources]
"""


def test_two_workers_of_one_template_never_draw_the_same_numbers(
    environment: Environment, plan_of: PlanOf
) -> None:
    plan = plan_of(DRAW)
    template = environment.fork_template(plan)
    draws = [template.fork_worker(plan).value() for _ in range(4)]
    for source in range(4):
        assert len({draw[source] for draw in draws}) == 4
    template.close()


def test_a_seed_that_user_code_wrote_down_repeats(environment: Environment, plan_of: PlanOf) -> None:
    plan = plan_of(DRAW)
    template = environment.fork_template(plan)
    assert len({tuple(template.fork_worker(plan).value()[4:]) for _ in range(3)}) == 1
    template.close()


def test_two_workers_of_one_environment_never_draw_the_same_numbers(
    environment: Environment, plan_of: PlanOf
) -> None:
    plan = plan_of("import numpy\ndef handler(event, context): return numpy.random.random()")
    assert len({environment.fork_worker(plan).value() for _ in range(4)}) == 4


def test_a_generator_that_a_package_made_in_the_environment_is_renewed_too(tmp_path: Path) -> None:
    (tmp_path / "chance.py").write_text("import numpy as np\nsource = np.random.default_rng()\n")
    (tmp_path / "app.py").write_text(
        "import chance\ndef handler(event, context): return chance.source.random()"
    )
    plan = plan_for(tmp_path)
    with Environment(tmp_path, imports=["chance"], env={"PYTHONPATH": str(tmp_path)}) as environment:
        template = environment.fork_template(plan)
        forks = [template.fork_worker(plan), template.fork_worker(plan), environment.fork_worker(plan)]
        assert len({worker.value() for worker in forks}) == 3


def test_a_worker_holds_nothing_of_its_siblings(environment: Environment, plan_of: PlanOf) -> None:
    plan = plan_of(LIST_FDS)
    template = environment.fork_template(plan)
    workers = [template.fork_worker(plan) for _ in range(3)]
    log = str(workers[-1].log.path)
    assert workers[-1].value() == ["/dev/null", log, log, log, "socket"]
    assert workers[-1].value() == ["/dev/null", log, log, log, "socket"]
    template.close()


def test_a_file_that_was_opened_for_reading_stays_open(environment: Environment, plan_of: PlanOf) -> None:
    plan = plan_of(
        "words = open(__file__)\ndef handler(event, context): return words.fileno() < 100 and words.read(5)"
    )
    template = environment.fork_template(plan)
    assert template.ready is not None
    assert template.ready.unsafe == ()
    assert template.fork_worker(plan).value() == "words"
    template.close()


def test_descriptors_that_the_server_leaks_are_closed(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import os\ndef handler(event, context): return os.listdir('/proc/self/fd')"
    )
    secret = os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        with Environment(tmp_path) as environment:
            worker = environment.fork_worker(plan_for(tmp_path))
            assert {int(fd) for fd in worker.value()} <= {0, 1, 2, 3, 1000, 1001}
    finally:
        os.close(secret)


def test_the_surroundings_are_the_revisions(serve: Serve, tmp_path: Path) -> None:
    worker = serve(
        """
        import os, sys
        def handler(event, context):
            return {"cwd": os.getcwd(), "path": sys.path[0], "env": dict(os.environ)}
        """,
        env={"MODE": "test", "AWS_REGION": "eu-west-1"},
        memory_bytes=128 << 20,
        work_dir=str(tmp_path),
    )
    seen = worker.value()
    code = str(tmp_path / "code")
    assert seen["cwd"] == seen["path"] == code
    expected = {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info[0]}.{sys.version_info[1]}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_FUNCTION_NAME": "hello",
        "AWS_LAMBDA_FUNCTION_VERSION": "3",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/hello",
        "AWS_REGION": "eu-west-1",
        "LAMBDA_TASK_ROOT": code,
        "MODE": "test",
        "OMP_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "TMPDIR": str(tmp_path),
        "_HANDLER": "app:handler",
    }
    assert expected.items() <= seen["env"].items()
    assert "LAMBENT_API_KEY" not in seen["env"]


def test_the_temporary_folder_is_the_workers_own_even_if_its_template_asked_before(
    environment: Environment, plan_of: PlanOf, tmp_path: Path
) -> None:
    plan = plan_of(
        "import tempfile\ndef handler(event, context): return tempfile.gettempdir()", work_dir=str(tmp_path)
    )
    assert environment.fork_worker(plan).value() == str(tmp_path)


def test_limits_hold_and_cannot_be_raised(serve: Serve) -> None:
    worker = serve(
        """
        import resource
        def handler(event, context):
            limits = (getattr(resource, "RLIMIT_" + name) for name in ("CORE", "NOFILE", "DATA"))
            return [resource.getrlimit(limit) for limit in limits]
        """,
        memory_bytes=100 << 20,
    )
    core, files, memory = worker.value()
    assert core == [0, 0]
    assert files[1] <= 4096
    assert memory[1] - memory[0] == 16 << 20
    assert 100 << 20 < memory[0] < 600 << 20


def test_a_revision_template_leaves_its_workers_room(environment: Environment, plan_of: PlanOf) -> None:
    plan = plan_of(
        "table = bytearray(40 << 20)\ndef handler(event, context): return len(bytearray(40 << 20))",
        memory_bytes=64 << 20,
    )
    template = environment.fork_template(plan)
    assert template.fork_worker(plan).value() == 40 << 20
    template.close()


def test_a_program_that_user_code_starts_can_be_interrupted(serve: Serve) -> None:
    worker = serve("""
        import signal, subprocess
        def handler(event, context):
            child = subprocess.Popen(["sleep", "60"])
            child.send_signal(signal.SIGINT)
            return child.wait()
    """)
    assert worker.value() == -2


def test_a_template_has_one_thread_although_its_libraries_like_more(environment: Environment) -> None:
    tasks = Path(f"/proc/{environment.pid}/task")
    assert len(list(tasks.iterdir())) == 1


def test_a_run_that_waits_for_something_is_as_long_as_it_lasts(serve: Serve) -> None:
    worker = serve("""
        import time
        def handler(event, context):
            time.sleep(0.02)
    """)
    answer, _ = worker.call(None)
    assert answer.own_us == answer.run_us >= 20_000


def test_what_other_processes_take_of_a_run_is_told_apart(serve: Serve) -> None:
    worker = serve("""
        def handler(event, context):
            return sum(range(200_000))
    """)
    answers = [worker.call(None)[0] for _ in range(20)]
    assert min(answer.own_us for answer in answers) > 0
    assert all(answer.own_us in (answer.cpu_us, answer.run_us) for answer in answers)


def test_peak_memory_and_cpu_time_are_told_with_the_answer(serve: Serve) -> None:
    worker = serve("def handler(event, context): return len(b'x' * (event << 20)) + sum(range(200_000))")
    small, _ = worker.call(1)
    large, _ = worker.call(64)
    assert large.rss_bytes - small.rss_bytes > 50 << 20
    assert large.cpu_us > 500
    assert large.run_us > 500
    assert small.rss_bytes < resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 * 4


HOOKS = """
    import snapshot_restore_py as hooks
    seen = []
    hooks.register_before_snapshot(seen.append, "first registered")
    hooks.register_before_snapshot(seen.append, "second registered")
    hooks.register_after_restore(seen.append, "restored")
    def handler(event, context): return seen
"""
PACKAGE = """
before, after = [], []
def register_before_snapshot(func, *args, **kwargs): before.append((func, args, kwargs))
def register_after_restore(func, *args, **kwargs): after.append((func, args, kwargs))
def get_before_snapshot(): return before
def get_after_restore(): return after
"""


def test_hooks_of_snap_start_run_around_the_fork(
    environment: Environment, plan_of: PlanOf, tmp_path: Path
) -> None:
    plan = plan_of(HOOKS)
    (tmp_path / "code" / "snapshot_restore_py.py").write_text(PACKAGE)
    template = environment.fork_template(plan)
    seen = ["second registered", "first registered", "restored"]
    assert template.fork_worker(plan).value() == seen
    assert template.fork_worker(plan).value() == seen
    template.close()


def test_a_restore_hook_that_raises_is_a_failed_load(
    environment: Environment, plan_of: PlanOf, tmp_path: Path
) -> None:
    plan = plan_of(
        "import snapshot_restore_py as s\ns.register_after_restore(int, 'x')\ndef handler(e, c): pass"
    )
    (tmp_path / "code" / "snapshot_restore_py.py").write_text(PACKAGE)
    template = environment.fork_template(plan)
    assert template.load_error(plan).error_type == "ValueError"
    template.close()


@pytest.mark.parametrize(
    "module", ["asyncio", "argparse", "lambent.engines", "lambent.gateway", "lambent.client"]
)
def test_a_worker_does_not_load_what_it_does_not_need(serve: Serve, module: str) -> None:
    worker = serve("import sys\ndef handler(event, context): return event in sys.modules")
    assert worker.value(module) is False
