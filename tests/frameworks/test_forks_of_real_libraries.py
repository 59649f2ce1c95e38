"""What the real libraries do to a template, and that a fork which would hang is found before it serves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lambent.wire.process import ChildRole, RevisionPlan
from tests.support.patience import PATIENT_S
from tests.support.templates import Environment, Template
from tests.support.user_code import PlanOf, plan_of

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(300)]

__all__ = ["plan_of"]

ROOM = 4 << 30
HANDLER = "\ndef handler(event, context):\n    return 1\n"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """An environment template that has imported what can be forked."""
    imports = ["numpy", "onnxruntime", "torch", "torch._dynamo"]
    with Environment(tmp_path_factory.mktemp("environment"), imports=imports) as started:
        yield started


def probed(template: Template, plan: RevisionPlan, *, wait_s: float) -> bool:
    """Whether a probe says hello in time."""
    worker = template.start_worker(plan, role=ChildRole.PROBE)
    try:
        worker.frame(wait_s=wait_s)
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    ("load", "said"),
    [
        pytest.param(
            "import torch; torch.set_num_threads(2); torch.ones(1 << 20).sum()",
            "a thread is running",
            id="torch after a parallel region",
        ),
        pytest.param(
            "import torch; torch.set_num_threads(2); torch.ones(1 << 20).sum(); torch.set_num_threads(1)",
            "a thread is running",
            id="torch that went back to one thread",
        ),
        pytest.param(
            "import onnxruntime as o, numpy as np\n"
            "from lambent.runtimes.adapters.onnx import RELU\n"
            "options = o.SessionOptions(); options.intra_op_num_threads = 2\n"
            "session = o.InferenceSession(RELU, options, providers=['CPUExecutionProvider'])\n"
            "session.run(None, {'x': np.zeros(1, np.float32)})",
            "a thread is running",
            id="ONNX Runtime with two threads",
        ),
        pytest.param(
            "import sqlite3; c = sqlite3.connect('d.sqlite'); c.execute('create table if not exists t (x)')",
            "a file is open for writing: ",
            id="an open database",
        ),
        pytest.param(
            "from concurrent import futures; pool = futures.ThreadPoolExecutor(1, 'jobs'); pool.submit(int)",
            "a thread is running: jobs",
            id="a user's thread",
        ),
    ],
)
def test_a_template_names_what_a_library_left_running(
    environment: Environment, plan_of: PlanOf, load: str, said: str
) -> None:
    template = environment.fork_template(plan_of(load + HANDLER, memory_bytes=ROOM))
    assert template.ready is not None
    assert any(reason.startswith(said) for reason in template.ready.unsafe), template.ready
    template.close()


def test_tensorflow_after_a_call_is_named(tmp_path: Path, plan_of: PlanOf) -> None:
    load = "import keras, numpy as np\nm = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])\n"
    run = "m.predict(np.zeros((1, 3)), verbose=0)"
    with Environment(tmp_path, imports=["keras", "tensorflow"]) as environment:
        template = environment.fork_template(plan_of(load + run + HANDLER, memory_bytes=ROOM))
        assert template.ready is not None
        assert any(reason.startswith("a thread is running") for reason in template.ready.unsafe)
        template.close()


@pytest.mark.parametrize(
    "load",
    [
        pytest.param("import torch; torch.ones(512, 512) @ torch.ones(512, 512)", id="torch with one thread"),
        pytest.param("import numpy as np; np.ones((512, 512)) @ np.ones((512, 512))", id="OpenBLAS"),
        pytest.param("import sqlite3; c = sqlite3.connect(':memory:')", id="a database in memory"),
        pytest.param("import torch; torch.linalg.svd(torch.rand(64, 64))", id="LAPACK"),
    ],
)
def test_what_is_safe_passes_the_probe_and_serves(
    environment: Environment, plan_of: PlanOf, load: str
) -> None:
    plan = plan_of(load + HANDLER, memory_bytes=ROOM, threads=2)
    template = environment.fork_template(plan)
    assert template.ready is not None
    assert template.ready.unsafe == ()
    assert probed(template, plan, wait_s=PATIENT_S)
    assert template.fork_worker(plan).value() == 1
    template.close()


def test_openblas_with_threads_is_named_or_passes_the_probe(tmp_path: Path, plan_of: PlanOf) -> None:
    load = "import numpy as np; np.ones((512, 512)) @ np.ones((512, 512))"
    with Environment(tmp_path, env={"OPENBLAS_NUM_THREADS": "2"}) as environment:
        plan = plan_of(load + HANDLER, memory_bytes=ROOM)
        template = environment.fork_template(plan)
        assert template.ready is not None
        assert template.ready.unsafe or probed(template, plan, wait_s=PATIENT_S)
        template.close()


def test_the_probe_itself_finds_torch_after_a_parallel_region(
    environment: Environment, plan_of: PlanOf
) -> None:
    load = "import torch; torch.set_num_threads(2); torch.ones(1 << 20).sum()"
    plan = plan_of(load + HANDLER, memory_bytes=ROOM)
    template = environment.fork_template(plan)
    assert not probed(template, plan, wait_s=3)
    template.close()
