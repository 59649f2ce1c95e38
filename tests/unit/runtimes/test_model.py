"""Models are loaded once per template, forked, and answer with or without user code."""

import io
from pathlib import Path

import msgspec
import numpy as np
import pytest

from lambent.core.invocation import Head, Status
from lambent.wire.oneshot import SERVING_FILE, Prepared, Serving
from lambent.wire.process import RevisionPlan, Runtime
from tests.support import model_archives, models
from tests.support.templates import Environment, Worker
from tests.support.user_code import PlanOf

TWO_ROWS = {"instances": [[1, 2, 3, 4], [0, 0, 0, 1]]}
THEIR_OUTPUTS = [[19.0, 29.0, 39.0], [2.0, 3.0, 4.0]]


@pytest.fixture
def model_plan(plan_of: PlanOf, tmp_path: Path) -> RevisionPlan:
    """A model file and no code."""
    (tmp_path / "model").mkdir()
    models.linear(tmp_path / "model" / "linear.onnx")
    return plan_of("", "", runtime=Runtime.MODEL, adapter="onnx", model_dir=str(tmp_path / "model"))


def accepting(types: str) -> str:
    return msgspec.json.encode({"custom": {"accept": types}}).decode()


def prepare(environment: Environment, folder: Path, *, body: bytes = b"", **changes: str) -> Worker:
    plan = RevisionPlan(
        revision="p", deployment="p", project="p", number=1, runtime=Runtime.PREPARE, work_dir=str(folder)
    )
    worker = environment.fork_worker(msgspec.structs.replace(plan, **changes))
    worker.send(body)
    return worker


def prepared(worker: Worker) -> Prepared:
    answer, body = worker.answer()
    assert answer.retiring
    return msgspec.json.decode(body, type=Prepared)


def test_a_model_file_without_code_answers_from_a_fork(
    environment: Environment, model_plan: RevisionPlan
) -> None:
    template = environment.fork_template(model_plan)
    assert template.ready is not None
    assert template.ready.unsafe == ()
    assert template.ready.parts_ms.keys() == {"fork", "load", "practice"}
    for _ in range(2):
        worker = template.fork_worker(model_plan)
        assert worker.value(TWO_ROWS) == {"predictions": THEIR_OUTPUTS}
        assert worker.value({"inputs": {"x": [[1, 2, 3, 4]]}}) == {"outputs": THEIR_OUTPUTS[:1]}
    template.close()


def test_a_wrong_shape_is_the_callers_error_and_says_what_is_right(
    environment: Environment, model_plan: RevisionPlan
) -> None:
    error = environment.fork_worker(model_plan).error({"instances": [[1, 2]]})
    assert error.error_type == "ValueError"
    assert error.error_message == "input 'x' has shape (1, 2); expected shape (any, 4) of float32"


def test_a_class_loads_once_per_template_and_predicts_in_each_worker(
    environment: Environment, plan_of: PlanOf, model_plan: RevisionPlan
) -> None:
    plan = plan_of(
        """
        import os
        import numpy as np
        import lambent
        class Linear:
            def load(self, model: lambent.ModelFiles):
                self.loaded_in, self.network, self.files = os.getpid(), model.load(), model
            def predict(self, inputs):
                rows = self.network(np.asarray(inputs["rows"]))
                return {"y": rows, "loaded_in": self.loaded_in, "path": self.files.file("linear.onnx").name}
        """,
        "app:Linear",
        runtime=Runtime.MODEL,
        model_dir=model_plan.model_dir,
    )
    template = environment.fork_template(plan)
    assert template.ready is not None
    assert template.ready.parts_ms.keys() == {"fork", "init", "load", "practice"}
    for _ in range(2):
        said = template.fork_worker(plan).value({"rows": TWO_ROWS["instances"]})
        assert said == {"y": THEIR_OUTPUTS, "loaded_in": template.pid, "path": "linear.onnx"}
    template.close()


def test_predict_may_be_async_and_load_may_be_left_out(environment: Environment, plan_of: PlanOf) -> None:
    plan = plan_of(
        "class Model:\n    async def predict(self, inputs): return inputs['x'] + 1",
        "app:Model",
        runtime=Runtime.MODEL,
    )
    assert environment.fork_worker(plan).value({"x": 1}) == 2


def test_a_load_may_be_async_and_leaves_no_loop_behind(environment: Environment, plan_of: PlanOf) -> None:
    code = """
        class Model:
            async def load(self, model): self.y = 2
            async def predict(self, inputs): return self.y
    """
    plan = plan_of(code, "app:Model", runtime=Runtime.MODEL)
    template = environment.fork_template(plan)
    assert template.ready is not None
    assert template.ready.unsafe == ()
    assert [template.fork_worker(plan).value() for _ in range(2)] == [2, 2]
    template.close()


def test_a_model_without_an_artifact_has_the_files_beside_its_code(
    environment: Environment, plan_of: PlanOf
) -> None:
    code = """
        class Model:
            def load(self, model): self.text = model.file("words.txt").read_text()
            def predict(self, inputs): return self.text
    """
    plan = plan_of(code, "app:Model", runtime=Runtime.MODEL)
    error = environment.load_error(plan)
    assert (error.error_type, error.error_message) == (
        "FileNotFoundError",
        "the model has no file 'words.txt'; it has app.py",
    )
    Path(plan.code_dir, "words.txt").write_text("hello")
    assert environment.fork_worker(plan).value() == "hello"


def test_a_class_without_predict_is_refused(environment: Environment, plan_of: PlanOf) -> None:
    error = environment.load_error(plan_of("class Model: pass", "app:Model", runtime=Runtime.MODEL))
    assert error.error_type == "Runtime.HandlerNotFound"
    assert error.error_message.startswith("Model 'app:Model' has no method predict(self, inputs), nor chat")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no model file in model: looked for .onnx, .keras"),
        ({"a.onnx": b"not a model"}, "a.onnx cannot be read as an ONNX model: "),
        (
            {"a.onnx": b"", "sub/b.keras": b""},
            "there are 2 models, a.onnx, sub/b.keras: name the one to load",
        ),
        ({SERVING_FILE: b"{"}, ".lambent/serving.json cannot be read: "),
        (
            {SERVING_FILE: b'{"adapter":"x","file":"f","served_by":"future","served_file":"f"}'},
            "the model needs the adapter 'future', which is not one of onnx, keras",
        ),
    ],
)
def test_a_folder_that_holds_no_readable_model_says_so(
    environment: Environment, plan_of: PlanOf, tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    error = environment.load_error(plan_of("", "", runtime=Runtime.MODEL, model_dir=str(folder)))
    assert (error.error_type, error.stack_trace) == ("BadModel", ())  # where in our code it was helps nobody
    assert error.error_message.startswith(message)


def test_preparing_keeps_an_optimised_copy_that_gives_the_same_outputs(
    environment: Environment, model_plan: RevisionPlan
) -> None:
    folder = Path(model_plan.model_dir)
    ready = prepared(prepare(environment, folder))
    assert ready.files == 3
    serving = ready.serving
    assert serving is not None
    assert serving.imports == ("numpy", "onnxruntime")
    assert (serving.adapter, serving.file, serving.served_by) == ("onnx", "linear.onnx", "onnx")
    assert serving.served_file == ".lambent/linear.onnx.optimised.onnx"
    assert serving.max_abs_difference is not None
    assert serving.max_abs_difference < 1e-4
    assert msgspec.json.decode((folder / SERVING_FILE).read_bytes(), type=Serving) == serving
    assert environment.fork_worker(model_plan).value(TWO_ROWS) == {"predictions": THEIR_OUTPUTS}


def test_an_artifact_is_copied_before_it_is_prepared(
    environment: Environment, model_plan: RevisionPlan, tmp_path: Path
) -> None:
    artifact = Path(model_plan.model_dir)
    (artifact / "linear.onnx").chmod(0o444)
    work = tmp_path / "work"
    work.mkdir()
    ready = prepared(prepare(environment, work, model_dir=str(artifact)))
    assert ready.files == 3
    assert sorted(path.name for path in artifact.iterdir()) == ["linear.onnx"]
    assert (work / SERVING_FILE).exists()


def test_several_models_are_all_prepared_and_named_to_be_loaded(
    environment: Environment, plan_of: PlanOf, model_plan: RevisionPlan
) -> None:
    models.lookup(Path(model_plan.model_dir, "table.onnx"))
    ready = prepared(prepare(environment, Path(model_plan.model_dir)))
    assert ready.serving is not None
    assert [ready.serving.file, *(each.file for each in ready.serving.others)] == [
        "linear.onnx",
        "table.onnx",
    ]
    code = """
        class Both:
            def load(self, model): self.models = [model.load("linear.onnx"), model.load("table.onnx")]
            def predict(self, inputs):
                linear, table = self.models
                return [linear(inputs["x"]), table({"index": inputs["i"], "scale": inputs["s"]})]
    """
    plan = plan_of(code, "app:Both", runtime=Runtime.MODEL, model_dir=model_plan.model_dir)
    said = environment.fork_worker(plan).value({"x": [1, 2, 3, 4], "i": [1, 3], "s": [[1], [2]]})
    assert said == [THEIR_OUTPUTS[:1], {"scaled": [[3, 4, 5], [18, 20, 22]], "seen": [1, 3]}]


def test_a_folder_without_models_is_prepared_by_leaving_it_alone(
    environment: Environment, tmp_path: Path
) -> None:
    (tmp_path / "weights.bin").write_bytes(b"x")
    assert prepared(prepare(environment, tmp_path)) == Prepared(None, 1)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (b'{"file": "broken.onnx"}', "broken.onnx cannot be read as an ONNX model: "),
        (b'{"file": "gone.onnx"}', "there is no file 'gone.onnx'"),
        (b'{"file": "broken.pkl"}', "broken.pkl is of no kind that can be served: .onnx, .keras"),
    ],
)
def test_a_file_that_cannot_be_served_is_refused_when_it_is_prepared(
    environment: Environment, tmp_path: Path, asked: bytes, message: str
) -> None:
    for name in ("broken.onnx", "broken.pkl"):
        (tmp_path / name).write_bytes(np.random.default_rng(1).bytes(500))
    answer, body = prepare(environment, tmp_path, body=asked).answer()
    assert answer.retiring
    said = msgspec.json.decode(body)
    assert said["errorType"] == "BadModel"
    assert said["errorMessage"].startswith(message)


def test_a_model_class_is_not_called_before_its_first_invocation(
    environment: Environment, plan_of: PlanOf
) -> None:
    code = """
    class Counter:
        def load(self, model):
            self.calls = 0
        def predict(self, inputs):
            self.calls += 1
            return self.calls
    """
    plan = plan_of(code, "app:Counter", runtime=Runtime.MODEL)
    template = environment.fork_template(plan)
    assert template.fork_worker(plan).value() == 1
    template.close()


def test_a_model_file_reads_and_writes_arrays_as_csv_and_npy(
    environment: Environment, model_plan: RevisionPlan
) -> None:
    worker = environment.fork_worker(model_plan)
    rows = b"1,2,3,4\n0,0,0,1\n"
    assert worker.value(rows, content_type="text/csv") == {"predictions": THEIR_OUTPUTS}
    assert worker.value(b"1,2,3,4", content_type="text/csv") == {"predictions": THEIR_OUTPUTS[:1]}
    npy = model_archives.npy([[1, 2, 3, 4]])
    answer, said = worker.call(npy, content_type="application/x-npy", client_context=accepting("text/csv"))
    assert (answer.content_type, said) == ("text/csv", b"19.0,29.0,39.0\n")
    answer, said = worker.call(TWO_ROWS, client_context=accepting("application/x-npy"))
    assert np.load(io.BytesIO(said)).tolist() == THEIR_OUTPUTS
    assert worker.value(TWO_ROWS, client_context=accepting("*/*;q=0.5")) == {"predictions": THEIR_OUTPUTS}


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"content_type": "image/png"}, 415), ({"client_context": '{"custom": {"accept": "image/png"}}'}, 406)],
)
def test_a_type_that_no_model_file_knows_has_the_status_that_says_so(
    environment: Environment, model_plan: RevisionPlan, changes: dict[str, str], status: int
) -> None:
    answer, said = environment.fork_worker(model_plan).call(TWO_ROWS, **changes)
    assert (answer.status, answer.head) == (Status.FAILED, Head(status))
    assert b"is not supported by this framework" in said
