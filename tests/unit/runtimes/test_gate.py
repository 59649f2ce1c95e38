"""A model is judged by its own code, in the process that made it, beside the champion."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from lambent.core.gating import Verdict
from lambent.core.invocation import Status
from lambent.wire.frames import read_error
from lambent.wire.oneshot import Gate, JobCall, JobResult
from lambent.wire.process import Runtime
from tests.support import models
from tests.support.templates import Worker
from tests.support.user_code import Serve

CODE = """
    import shutil
    import lambent

    app = lambent.App("judged")

    def fit(run):
        shutil.copy(run.params["source"], run.model_dir / "linear.onnx")
        run.report(accuracy=run.params.get("accuracy", 0.0))

    def score(model, run):
        predicted = float(model.predict([[1.0, 1.0, 1.0, 1.0]])[0][0])
        return {"error": abs(predicted - run.params["truth"])}

    @app.model(train="fit", accept=lambda m, champion: champion is None or m.error < champion.error,
               evaluate=score)
    class Judged:
        def load(self, model):
            self.network = model.load()

        def predict(self, rows):
            import numpy
            return self.network(numpy.asarray(rows, numpy.float32))

    @app.model(train="fit", accept=lambda m: m.accuracy >= 0.9)
    class Reported:
        def predict(self, rows):
            return rows

    @app.model(train=fit, evaluate=lambda model, run: {"error": 0.5})
    class Evaluated:
        def predict(self, rows):
            return rows

    @app.model(train=fit, accept="x > 0", evaluate=lambda model, run: None)
    class Silent:
        def predict(self, rows):
            return rows

    app.job(fit)
    """


def judged(serve: Serve, tmp_path: Path, gate: Gate, **params: Any) -> Worker:
    source = models.linear(tmp_path / "made.onnx")
    worker = serve(CODE, "app:fit", runtime=Runtime.JOB, work_dir=str(tmp_path / "run"))
    worker.send(JobCall("run-1", {"source": str(source), **params}, gate=gate))
    return worker


def result(worker: Worker) -> JobResult:
    answer, body = worker.answer()
    assert answer.status is Status.OK, body
    return msgspec.json.decode(body, type=JobResult)


def champion_of(folder: Path, bias: float) -> str:
    folder.mkdir()
    models.linear(folder / "linear.onnx", bias=bias)
    return str(folder)


@pytest.mark.parametrize(
    ("champion_bias", "verdict"),
    [
        (-2.0, Verdict(accepted=True, champion={"error": 1.0})),
        (
            -1.0,
            Verdict(
                accepted=False,
                why="not lambda m, champion: champion is None or m.error < champion.error: "
                "it has accuracy=0, error=0; the champion has error=0",
                champion={"error": 0.0},
            ),
        ),
    ],
)
def test_both_models_are_evaluated_on_the_same_data(
    serve: Serve, tmp_path: Path, champion_bias: float, verdict: Verdict
) -> None:
    champion = champion_of(tmp_path / "champion", champion_bias)
    gate = Gate("code: it", "app:Judged", champion, {"error": 99.0})
    done = result(judged(serve, tmp_path, gate, truth=5.0))
    assert done.metrics == {"accuracy": 0.0, "error": 0.0}
    assert done.verdict == verdict


def test_the_first_model_has_nobody_to_be_compared_with(serve: Serve, tmp_path: Path) -> None:
    done = result(judged(serve, tmp_path, Gate("code: it", "app:Judged"), truth=1.0))
    assert done.verdict == Verdict(accepted=True)
    assert done.metrics["error"] == 4.0


def test_a_champion_that_cannot_be_loaded_any_more_is_no_obstacle(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "champion").mkdir()
    gate = Gate("code: it", "app:Judged", str(tmp_path / "champion"), {"error": 0.0})
    worker = judged(serve, tmp_path, gate, truth=1.0)
    assert result(worker).verdict == Verdict(accepted=True)


@pytest.mark.parametrize(("accuracy", "accepted"), [(0.95, True), (0.85, False)])
def test_without_an_evaluation_it_is_judged_by_what_the_job_reported(
    serve: Serve, tmp_path: Path, accuracy: float, *, accepted: bool
) -> None:
    worker = judged(serve, tmp_path, Gate("code: it", "app:Reported"), accuracy=accuracy)
    verdict = result(worker).verdict
    assert verdict is not None
    assert verdict.accepted is accepted


def test_with_an_evaluation_alone_any_model_serves_that_can_be_evaluated(
    serve: Serve, tmp_path: Path
) -> None:
    done = result(judged(serve, tmp_path, Gate("code: any", "app:Evaluated")))
    assert done.verdict == Verdict(accepted=True)
    assert done.metrics == {"accuracy": 0.0, "error": 0.5}


def test_words_of_the_deployment_go_over_the_code(serve: Serve, tmp_path: Path) -> None:
    gate = Gate("better(accuracy)", "app:Reported", str(tmp_path), {"accuracy": 0.5})
    verdict = result(judged(serve, tmp_path, gate, accuracy=0.6)).verdict
    assert verdict == Verdict(accepted=True, champion={"accuracy": 0.5})


@pytest.mark.parametrize(
    ("entrypoint", "accept", "kind"),
    [
        ("app:Silent", "x > 0", "Runtime.BadMetrics"),
        ("app:Gone", "x > 0", "Runtime.HandlerNotFound"),
        ("app:Silent", "code: it", "Runtime.BadMetrics"),
        ("app:fit", "code: it", "Runtime.NoGate"),
    ],
)
def test_a_gate_that_cannot_be_asked_fails_the_run(
    serve: Serve, tmp_path: Path, entrypoint: str, accept: str, kind: str
) -> None:
    answer, body = judged(serve, tmp_path, Gate(accept, entrypoint)).answer()
    assert answer.status is Status.FAILED
    assert read_error(body).error_type == kind
