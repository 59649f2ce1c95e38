"""A state dict is stored as safetensors and mapped: names, types, ties and values stay what they were."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lambent.core.invocation import FunctionError, Status
from lambent.engines.proc import memory_of
from lambent.storage.artifacts import FileArtifacts
from lambent.wire.oneshot import PrepareCall, Prepared
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.templates import Environment
from tests.support.torch_code import DIGITS, make
from tests.support.user_code import PlanOf, plan_of

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(300)]

__all__ = ["plan_of"]

ROOM = 4 << 30
MIB = 1 << 20
PICTURE = [[0.5] * 28] * 28


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """An environment template that has imported torch."""
    with Environment(tmp_path_factory.mktemp("environment"), imports=["torch"]) as started:
        yield started


def preparing(folder: Path) -> RevisionPlan:
    return RevisionPlan(
        revision="p", deployment="p", project="p", number=1, runtime=Runtime.PREPARE, work_dir=str(folder),
        memory_bytes=ROOM,
    )  # fmt: skip


def prepared(environment: Environment, folder: Path, file: str = "") -> Prepared:
    answer, body = environment.fork_worker(preparing(folder)).call(PrepareCall(file))
    assert answer.status is Status.OK, body
    return msgspec.json.decode(body, type=Prepared)


def refused(environment: Environment, folder: Path) -> FunctionError:
    return environment.fork_worker(preparing(folder)).error()


def mapped_paths(pid: int) -> list[str]:
    maps = Path(f"/proc/{pid}/maps").read_text()
    return re.findall(r"rw-p \w+ \S+ \d+ +(\S+\.safetensors)", maps)


def test_an_imported_torch_may_be_forked(environment: Environment) -> None:
    assert environment.ready is not None
    assert environment.ready.unsafe == ()


def test_workers_share_mapped_weights_and_nothing_but_chance_differs(
    environment: Environment, tmp_path: Path, plan_of: PlanOf
) -> None:
    make("torch.save(digits().state_dict(), 'net.pt')", tmp_path)
    serving = prepared(environment, tmp_path).serving
    assert serving is not None
    assert (serving.served_by, serving.reason, serving.needs_code) == ("weights", "", True)
    plan = plan_of(DIGITS, "app:Digits", runtime=Runtime.MODEL, model_dir=str(tmp_path), threads=2)
    template = environment.fork_template(plan)
    assert template.ready is not None
    assert template.ready.unsafe == ()
    assert mapped_paths(template.pid)
    workers = [template.fork_worker(plan) for _ in range(3)]
    said: list[Any] = [worker.value([PICTURE]) for worker in workers]
    assert all(each["said"] == said[0]["said"] for each in said)
    assert [each["threads"] for each in said] == [2, 2, 2]
    assert len({each["random"] for each in said}) == len({each["seed"] for each in said}) == 3
    template.close()


def test_a_worker_of_a_large_model_has_little_memory_of_its_own_and_owes_none_for_the_weights(
    environment: Environment, tmp_path: Path, plan_of: PlanOf
) -> None:
    make("torch.save({f'w{n}': torch.full((1024, 1024), float(n)) for n in range(64)}, 'big.pt')", tmp_path)
    serving = prepared(environment, tmp_path).serving
    assert serving is not None
    assert serving.mapped_bytes > 256 * MIB
    code = """
        import torch
        class Big:
            def load(self, model):
                self.weights = model.state_dict()
            def predict(self, inputs):
                return sum(each.sum().item() for each in self.weights.values())
    """
    plan = plan_of(
        code, "app:Big", runtime=Runtime.MODEL, model_dir=str(tmp_path), memory_bytes=64 * MIB,
        mapped_bytes=serving.mapped_bytes,
    )  # fmt: skip
    template = environment.fork_template(plan)
    workers = [template.fork_worker(plan) for _ in range(3)]
    assert [worker.value([]) for worker in workers] == [float(sum(range(64)) * MIB)] * 3
    assert max(memory_of(worker.pid).private_bytes for worker in workers) < 16 * MIB
    template.close()
    alone = environment.fork_worker(plan)
    assert alone.value([]) == float(sum(range(64)) * MIB)


SAME = """
    from pathlib import Path
    from lambent.runtimes.model import ModelFiles
    saved = torch.load("given.pt", weights_only=True)
    with torch.device("meta"):
        network = tied()
    network.shift = torch.arange(3)
    found = ModelFiles(Path.cwd()).load_into(network, "net{suffix}").eval().state_dict()
    assert list(found) == list(saved), (list(found), list(saved))
    for name, tensor in saved.items():
        assert found[name].dtype is tensor.dtype and torch.equal(found[name], tensor), name
    assert network.out.weight is network.embed.weight
    assert network.out.weight.data_ptr() == network.embed.weight.data_ptr()
    given = tied()
    given.load_state_dict(saved)
    tokens = torch.arange(9)
    assert torch.equal(network(tokens), given.eval()(tokens))
    network.scale.add_(1)  # pages of this process; the file stays as it is
    assert torch.equal(ModelFiles(Path.cwd()).state_dict("net{suffix}")["scale"], saved["scale"])
"""


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_is_mapped_is_what_was_saved(environment: Environment, tmp_path: Path, suffix: str) -> None:
    save = """
        from safetensors.torch import save_model
        network = tied()
        torch.save(network.state_dict(), "given.pt")
        save_model(network, "net.safetensors") if "{suffix}" == ".safetensors" else torch.save(
            network.state_dict(), "net.pt"
        )
    """
    make(save.replace("{suffix}", suffix), tmp_path)
    prepared(environment, tmp_path, f"net{suffix}")
    make(SAME.replace("{suffix}", suffix), tmp_path)


def test_the_stored_files_are_safetensors_whose_tensors_start_at_a_page(
    environment: Environment, tmp_path: Path
) -> None:
    make("torch.save(tied().state_dict(), 'net.pt')", tmp_path)
    prepared(environment, tmp_path)
    check = """
        from pathlib import Path
        from safetensors.torch import load_file
        saved = torch.load("net.pt", weights_only=True)
        found = {}
        for path in Path(".lambent").rglob("*.safetensors"):
            header = int.from_bytes(path.read_bytes()[:8], "little")
            assert (8 + header) % 4096 == 0
            found |= load_file(path)
        assert set(saved) - set(found) == {"out.weight"}, set(saved) - set(found)
        assert all(torch.equal(saved[name], tensor) for name, tensor in found.items())
    """
    make(check, tmp_path)


def test_fine_tunes_map_the_files_of_the_tensors_that_they_have_in_common(
    environment: Environment, tmp_path: Path
) -> None:
    save = """
        torch.manual_seed(0)
        base = {f"w{n}": torch.rand(512, 512) for n in range(20)}
        for number in range(2):
            Path(str(number)).mkdir()
            torch.save({**base, "w19": base["w19"] + number}, f"{number}/net.pt")
    """
    make("from pathlib import Path\n" + textwrap.dedent(save), tmp_path)
    artifacts = FileArtifacts.open(tmp_path / "state")
    inodes: list[set[int]] = []
    for number in range(2):
        prepared(environment, tmp_path / str(number))
        kept = artifacts.path(artifacts.ingest_tree(tmp_path / str(number)).digest)
        inodes.append({path.stat().st_ino for path in kept.rglob("*.safetensors")})
    assert [len(each) for each in inodes] == [20, 20]
    assert len(inodes[0] & inodes[1]) == 19


@pytest.mark.parametrize(
    ("save", "said"),
    [
        ("torch.save(digits(), 'net.pt')", "it asks for torch.nn.modules.container.Sequential"),
        ("torch.jit.script(nn.ReLU()).save('net.pt')", "net.pt is a TorchScript archive"),
        ("open('net.pt', 'wb').write(b'PK no archive')", "net.pt "),
        (
            "open('net.safetensors', 'wb').write(b'no header')",
            "net.safetensors cannot be read as safetensors",
        ),
    ],
)
def test_what_could_run_code_or_is_damaged_is_refused_by_name(
    environment: Environment, tmp_path: Path, save: str, said: str
) -> None:
    make(f"import warnings; warnings.simplefilter('ignore'); {save}", tmp_path)
    error = refused(environment, tmp_path)
    assert error.error_type == "BadModel"
    assert said in error.error_message


def test_a_checkpoint_of_more_than_tensors_is_kept_and_says_so_when_it_is_asked_for(
    environment: Environment, tmp_path: Path, plan_of: PlanOf
) -> None:
    make("torch.save({'model': digits().state_dict(), 'epoch': 3}, 'net.pt')", tmp_path)
    serving = prepared(environment, tmp_path).serving
    assert serving is not None
    assert (
        serving.reason == "kept as it is, and read by torch.load: its 'model' is a OrderedDict and no tensor"
    )
    plan = plan_of(DIGITS, "app:Digits", runtime=Runtime.MODEL, model_dir=str(tmp_path))
    assert "torch.load(model.file('net.pt'), weights_only=True" in environment.load_error(plan).error_message


def test_weights_alone_are_no_model(environment: Environment, tmp_path: Path, plan_of: PlanOf) -> None:
    make("torch.save(digits().state_dict(), 'net.pt')", tmp_path)
    prepared(environment, tmp_path)
    plan = plan_of("", "", runtime=Runtime.MODEL, model_dir=str(tmp_path))
    error = environment.load_error(plan).error_message
    assert error.startswith("net.pt holds weights and no network")


def test_a_program_runs_without_code_on_mapped_weights(
    environment: Environment, tmp_path: Path, plan_of: PlanOf
) -> None:
    export = """
        network = tied().eval()
        tokens = torch.arange(9)
        program = torch.export.export(network, (tokens,), dynamic_shapes=({0: torch.export.Dim("n")},))
        torch.export.save(program, "net.pt2")
        open("said.txt", "w").write(repr(network(tokens).tolist()))
    """
    make(export, tmp_path)
    serving = prepared(environment, tmp_path, "net.pt2").serving
    assert serving is not None
    assert (serving.served_by, serving.needs_code) == ("torch", False)
    plan = plan_of("", "", runtime=Runtime.MODEL, model_dir=str(tmp_path))
    with Environment(tmp_path, imports=serving.imports) as light:
        template = light.fork_template(plan)
        assert template.ready is not None
        assert template.ready.unsafe == ()
        assert len(mapped_paths(template.pid)) == len(
            [*(tmp_path / ".lambent/net.pt2.weights").glob("*.safetensors")]
        )
        said = template.fork_worker(plan).value({"instances": list(range(9))})["predictions"]
        wanted = msgspec.json.decode((tmp_path / "said.txt").read_bytes())
        apart = [
            abs(a - b)
            for row, other in zip(said, wanted, strict=True)
            for a, b in zip(row, other, strict=True)
        ]
        assert max(apart) < 1e-5
        template.close()
