"""The weights of a prepared ONNX model are mapped from a file, and all workers share them."""

import re
from pathlib import Path

import msgspec
import numpy as np
import onnx

from lambent.core.invocation import Status
from lambent.engines.proc import memory_of
from lambent.wire.oneshot import Prepared, Serving
from lambent.wire.process import RevisionPlan, Runtime
from tests.support import models
from tests.support.templates import Environment
from tests.support.user_code import PlanOf

SIZE = 1500  # 9 MB of weights, and rows that fill no whole number of pages
OPTIMISED = ".lambent/linear.onnx.optimised.onnx"
MIB = 1 << 20


def prepared(environment: Environment, folder: Path) -> Serving:
    plan = RevisionPlan(
        revision="p", deployment="p", project="p", number=1, runtime=Runtime.PREPARE, work_dir=str(folder)
    )
    answer, body = environment.fork_worker(plan).call()
    assert answer.status is Status.OK, body
    serving = msgspec.json.decode(body, type=Prepared).serving
    assert serving is not None
    return serving


def mapped_bytes(pid: int, name: str) -> int:
    """How much a process maps from files of a name."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    ranges = re.findall(rf"^(\w+)-(\w+) .*{re.escape(name)}$", maps, re.MULTILINE)
    return sum(int(end, 16) - int(start, 16) for start, end in ranges)


def test_a_large_tensor_is_mapped_and_no_worker_has_it_for_itself(
    environment: Environment, tmp_path: Path, plan_of: PlanOf
) -> None:
    models.linear(tmp_path / "linear.onnx", inputs=SIZE, outputs=SIZE)
    row = np.linspace(-1, 1, SIZE, dtype=np.float32).tolist()
    plan = plan_of("", "", runtime=Runtime.MODEL, model_dir=str(tmp_path), memory_bytes=256 * MIB)
    given = environment.fork_worker(plan).value({"instances": [row]})

    serving = prepared(environment, tmp_path)
    assert serving.served_file == OPTIMISED
    assert serving.mapped_bytes == (tmp_path / f"{OPTIMISED}.weights").stat().st_size
    plan = msgspec.structs.replace(plan, revision="r", mapped_bytes=serving.mapped_bytes)
    template = environment.fork_template(plan)
    assert template.ready is not None
    assert template.ready.unsafe == ()
    workers = [template.fork_worker(plan) for _ in range(2)]
    for worker in workers:
        assert worker.value({"instances": [row]}) == given
        assert mapped_bytes(worker.pid, ".weights") > SIZE * SIZE * 4
        assert memory_of(worker.pid).private_bytes < SIZE * SIZE * 4 / 2
    template.close()


def test_where_kernels_pack_in_another_way_they_pack_anew(
    environment: Environment, tmp_path: Path, plan_of: PlanOf
) -> None:
    models.linear(tmp_path / "linear.onnx", inputs=SIZE, outputs=SIZE)
    prepared(environment, tmp_path)
    plan = plan_of("", "", runtime=Runtime.MODEL, model_dir=str(tmp_path), memory_bytes=256 * MIB)
    row = np.linspace(-1, 1, SIZE, dtype=np.float32).tolist()
    given = environment.fork_worker(plan).value({"instances": [row, row]})
    assert pretend_to_come_from_another_processor(tmp_path / OPTIMISED)
    assert environment.fork_worker(plan).value({"instances": [row, row]}) == given


def pretend_to_come_from_another_processor(graph: Path) -> int:
    """Change the hashes of the packed weights and spoil what they stand for; how many there were."""
    model = onnx.load(graph, load_external_data=False)
    entries = [
        entry
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key.startswith("prepacked")
    ]
    with graph.with_name(f"{graph.name}.weights").open("r+b") as weights:
        for entry in entries:
            key, place = entry.value.split("|")
            kernel, number = key.split("+")
            offset, length, _ = place.split(";")
            entry.value = f"{kernel}+{int(number) ^ 1}|{place}"
            weights.seek(int(offset))
            weights.write(bytes(int(length)))
    graph.write_bytes(model.SerializeToString())
    return len(entries)


def test_a_small_model_stays_one_file(environment: Environment, tmp_path: Path) -> None:
    models.linear(tmp_path / "linear.onnx")
    assert prepared(environment, tmp_path).mapped_bytes == 0
    assert not (tmp_path / f"{OPTIMISED}.weights").exists()
