"""A job runs once, says how it goes, and leaves prepared model files behind."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lambent.core.invocation import FunctionError, Status
from lambent.core.series import BATCH_POINTS_MAX, POINTS_MAX, STEP_MAX, Batch, Series
from lambent.runtimes.job import Params, Run
from lambent.runtimes.news import NEWS_AT_ONCE_MAX, NEWS_PER_S_MAX, numbers
from lambent.wire.frames import Answer
from lambent.wire.oneshot import JobCall, JobResult, News
from lambent.wire.process import Runtime
from tests.support import models
from tests.support.templates import Environment, Worker
from tests.support.user_code import PlanOf, Serve
from tests.support.virtual_time import ManualClock


def start(serve: Serve, tmp_path: Path, code: str, **params: Any) -> Worker:
    worker = serve(code, "app:fit", runtime=Runtime.JOB, work_dir=str(tmp_path / "run"))
    worker.send(JobCall("run-1", params))
    return worker


def result(worker: Worker) -> JobResult:
    answer, body = worker.answer()
    assert answer.status is Status.OK, body
    return msgspec.json.decode(body, type=JobResult)


def test_a_job_trains_reports_and_leaves_a_model(
    serve: Serve, environment: Environment, tmp_path: Path
) -> None:
    trained = models.linear(tmp_path / "trained.onnx")
    worker = start(
        serve,
        tmp_path,
        """
        import shutil
        def fit(run):
            run.log(step=1, progress=0.5, message=f"epoch {run.params.epochs}", loss=0.25)
            shutil.copy(run.params["source"], run.model_dir / "trained.onnx")
            run.report(accuracy=0.99)
            return {"loss": 0.125, "note": "is no number"}
        """,
        epochs=3,
        source=str(trained),
    )
    done = result(worker)
    assert done.metrics == {"accuracy": 0.99, "loss": 0.125}
    assert done.serving is not None
    assert done.serving.imports == ("numpy", "onnxruntime")
    assert done.files == 3
    assert done.serving.served_file == ".lambent/trained.onnx.optimised.onnx"
    assert (tmp_path / "run" / "model" / "trained.onnx").exists()
    assert [msgspec.json.decode(news, type=News) for news in worker.news] == [
        News(0.5, "epoch 3", 1, {"loss": 0.25}, {"loss": Batch(0, 1, [1], [0.25], 1, 0.25)})
    ]
    assert environment.exit_of(worker).status == 0


@pytest.fixture
def failing(serve: Serve, tmp_path: Path) -> tuple[Answer, FunctionError]:
    """What a job that fails in the middle says."""
    worker = start(
        serve, tmp_path, "def fit(run):\n    run.log(message='half')\n    raise ValueError('bad data')"
    )
    answer, body = worker.answer()
    assert b"half" in worker.news[0]
    return answer, msgspec.json.decode(body, type=FunctionError)


def test_a_job_that_fails_says_why_and_its_worker_ends(failing: tuple[Answer, FunctionError]) -> None:
    answer, error = failing
    assert (answer.status, answer.retiring) == (Status.FAILED, True)
    assert (error.error_type, error.error_message) == ("ValueError", "bad data")
    assert len(error.stack_trace) == 1


def test_a_job_without_a_model_leaves_none(serve: Serve, tmp_path: Path) -> None:
    assert result(start(serve, tmp_path, "async def fit(run): run.report(rows=12)")) == JobResult(
        {"rows": 12.0}
    )


def test_a_job_that_leaves_a_broken_model_fails(serve: Serve, tmp_path: Path) -> None:
    worker = start(serve, tmp_path, "def fit(run): (run.model_dir / 'm.onnx').write_bytes(b'x')")
    answer, body = worker.answer()
    assert answer.status is Status.FAILED
    assert b'"errorType":"BadModel"' in body


def test_a_job_may_use_the_cores_that_its_template_may_not(serve: Serve, tmp_path: Path) -> None:
    worker = start(
        serve, tmp_path, "import os\ndef fit(run): return {'threads': float(os.environ['OMP_NUM_THREADS'])}"
    )
    assert result(worker).metrics == {"threads": float(len(os.sched_getaffinity(0)))}


def test_news_of_a_thread_that_outlives_its_job_are_not_sent(serve: Serve, tmp_path: Path) -> None:
    worker = start(
        serve,
        tmp_path,
        """
        import atexit, threading
        def fit(run):
            threading.Thread(target=lambda: (run.log(message="from a thread")), name="t").start()
            while threading.active_count() > 1: pass
            run.log(message="last")
        """,
    )
    result(worker)
    assert worker.news
    assert b"last" in worker.news[-1]


def test_a_job_that_does_not_exist_is_found_at_load(environment: Environment, plan_of: PlanOf) -> None:
    error = environment.load_error(plan_of("", "app:fit", runtime=Runtime.JOB))
    assert error.error_type == "Runtime.HandlerNotFound"


class Desk:
    """A run whose news are kept."""

    def __init__(self, tmp_path: Path) -> None:
        self.clock = ManualClock()
        self.news: list[News] = []
        self.timed: list[Callable[[], None]] = []
        self.run = Run(JobCall("r"), tmp_path, notify=self._take, clock=self.clock, later=self._later)

    def _later(self, _after_s: float, then: Callable[[], None]) -> None:
        self.timed.append(then)

    def _take(self, body: bytes) -> None:
        self.news.append(msgspec.json.decode(body, type=News))


def test_news_come_at_a_bounded_rate_and_none_is_lost(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    seconds, per_second = 5, 1000
    for step in range(seconds * per_second):
        desk.run.log(step, progress=step / (seconds * per_second), **{f"metric_{step % 3}": step})
        desk.clock.advance(1 / per_second)
    desk.run.close()
    assert len(desk.news) <= seconds * NEWS_PER_S_MAX + NEWS_AT_ONCE_MAX + 1
    seen = {name: value for news in desk.news for name, value in news.metrics.items()}
    assert seen == {"metric_0": 4998.0, "metric_1": 4999.0, "metric_2": 4997.0}
    assert desk.news[-1].step == 4999


def test_a_rare_message_is_sent_at_once_and_the_last_one_at_the_end(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.run.log(message="first")
    desk.run.log(message="soon after")
    assert [news.message for news in desk.news] == ["first", "soon after"]
    for _ in range(100):
        desk.run.log(message="far too often")
    assert len(desk.news) == NEWS_AT_ONCE_MAX
    desk.run.log(message="last")
    desk.run.close()
    desk.run.log(message="too late")
    assert [news.message for news in desk.news[NEWS_AT_ONCE_MAX:]] == ["last"]


def test_what_waits_is_sent_as_soon_as_the_run_asks_for_anything(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for step in range(100):
        desk.run.log(step, loss=1.0)
    assert desk.news[-1].step == NEWS_AT_ONCE_MAX - 1
    desk.clock.advance(1)
    _ = desk.run.due
    assert desk.news[-1].step == 99


def test_what_waits_is_sent_in_time_although_the_job_is_silent(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for step in range(100):
        desk.run.log(step, loss=1.0)
    assert len(desk.timed) == 1
    desk.timed.pop()()  # a little too early
    assert desk.news[-1].step == NEWS_AT_ONCE_MAX - 1
    desk.clock.advance(0.1)
    desk.timed.pop()()
    assert desk.news[-1].step == 99
    assert not desk.timed
    desk.run.log(100)
    desk.run.close()
    sent = len(desk.news)
    desk.timed.pop()()
    assert len(desk.news) == sent
    assert not desk.timed


def test_the_last_points_before_a_long_silence_arrive(serve: Serve, tmp_path: Path) -> None:
    worker = start(
        serve,
        tmp_path,
        """
        import threading
        def fit(run):
            for step in range(1000):
                run.log(step, loss=step)
            while threading.active_count() > 1: pass  # silent, until somebody else has sent them
            run.log(message="after it")
        """,
    )
    result(worker)
    *_, before, last = [msgspec.json.decode(news, type=News) for news in worker.news]
    assert (before.step, last.step, last.message) == (999, None, "after it")


def test_a_million_points_are_a_few_messages_and_a_curve(tmp_path: Path) -> None:
    desk, series, count = Desk(tmp_path), Series(), 100_000
    for step in range(count):
        desk.run.log(step, loss=step / count)
        desk.clock.advance(1e-5)
    desk.run.close()
    for news in desk.news:
        series.merge(news.curves, 0)
    points = series.points()["loss"]
    assert (points.steps[0], points.steps[-1]) == (0, count - 1)
    assert POINTS_MAX / 4 < len(points.steps) <= POINTS_MAX
    assert sum(len(msgspec.json.encode(news)) for news in desk.news) < 300_000


def test_a_thousand_names_go_in_portions_and_all_arrive(tmp_path: Path) -> None:
    desk, series = Desk(tmp_path), Series()
    for step in range(30):
        desk.run.log(step, **{f"m{name}": name * step for name in range(1000)})
    desk.run.close()
    for news in desk.news:
        assert sum(len(batch.steps) for batch in news.curves.values()) <= BATCH_POINTS_MAX
        series.merge(news.curves, 0)
    assert {len(one.steps) for one in series.points().values()} == {30}
    assert len(series.points()) == 1000


def test_metrics_without_steps_go_on_where_their_checkpoint_was(tmp_path: Path) -> None:
    desk, series = Desk(tmp_path), Series()
    for number in range(50):
        if number == 30:
            desk.run.checkpoint({"epoch": 1}, step=1)
        desk.run.log(loss=number)
    desk.run.close()
    again = Desk(tmp_path)
    assert again.run.restore() == {"epoch": 1}
    for number in range(30, 60):
        again.run.log(loss=-number)
    again.run.close()
    for news in (*desk.news, *again.news):
        series.merge(news.curves, 0)
    points = series.points()["loss"]
    assert points.steps == list(range(60))
    assert points.values == [float(number) if number < 30 else -float(number) for number in range(60)]


def test_values_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    desk, series = Desk(tmp_path), Series()
    for value in (1.0, float("nan"), float("inf"), 10**400, 2.0):
        desk.run.log(loss=value)
    desk.run.close()
    for news in desk.news:
        series.merge(news.curves, 0)
    points = series.points()["loss"]
    assert (points.values, points.skipped) == ([1.0, 2.0], 3)


def test_a_step_that_64_bits_do_not_hold_is_cut(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.run.log(10**30, loss=1.0)
    assert desk.news[0].curves["loss"].steps == [STEP_MAX]


def test_a_process_that_a_job_forks_says_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    child = os.fork()
    if not child:
        desk.run.log(message="from the child")
        desk.run.close()
        os._exit(len(desk.news))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_files_are_saved_by_their_names_or_with_their_content(tmp_path: Path) -> None:
    run = Desk(tmp_path).run
    (tmp_path / "plot.png").write_bytes(b"png")
    (tmp_path / "many/below").mkdir(parents=True)
    (tmp_path / "many/below/a.txt").write_text("a")
    assert run.save(tmp_path / "plot.png") == run.artifacts_dir / "plot.png"
    run.save("notes/today.txt", "ü")
    run.save("raw", b"1")
    run.save("raw", b"2")
    run.save(tmp_path / "many")
    saved = {str(one.relative_to(run.artifacts_dir)) for one in run.artifacts_dir.rglob("*") if one.is_file()}
    assert saved == {"plot.png", "notes/today.txt", "raw", "many/below/a.txt"}
    assert (run.artifacts_dir / "raw").read_bytes() == b"2"
    assert (run.artifacts_dir / "notes/today.txt").read_text() == "ü"


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "."])
def test_no_name_of_a_file_leads_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="leads out of"):
        Desk(tmp_path).run.save(name, b"x")


def test_a_file_that_is_not_there_cannot_be_saved(tmp_path: Path) -> None:
    run = Desk(tmp_path).run
    with pytest.raises(FileNotFoundError):
        run.save("nowhere.png")
    assert not list(run.artifacts_dir.iterdir())


def test_progress_stays_between_0_and_1(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for progress in (-1, 0.5, 7):
        desk.run.log(progress=progress)
        desk.clock.advance(1)
    assert [news.progress for news in desk.news] == [0.0, 0.5, 1.0]


def test_metrics_that_json_cannot_say_are_left_out() -> None:
    assert numbers({"a": float("nan"), "b": float("inf"), "c": 1}) == {"c": 1.0}
    with pytest.raises(TypeError, match="metric loss='low' is not a number"):
        numbers({"loss": "low"})  # type: ignore[dict-item]  # what a user may do


def test_parameters_are_read_by_name_or_as_attributes() -> None:
    params = Params({"epochs": 3, "rate": 0.1})
    assert (params.epochs, params["rate"], params.get("more", 7), len(params)) == (3, 0.1, 7, 2)
    with pytest.raises(AttributeError, match="the run has no parameter 'epoch'; it has epochs, rate"):
        _ = params.epoch


@pytest.mark.parametrize(
    ("returned", "kept"),
    [
        ("{'answer': [1, 'two'], 'loss': 0.5}", b'{"answer":[1,"two"],"loss":0.5}'),
        ("None", b"null"),
        ("7", b"7"),
        ("b'bytes'", b"null"),
        ("object()", b"null"),
        ("{'loss': float('nan')}", b'{"loss":null}'),
    ],
)
def test_what_a_job_returns_is_kept_where_json_can_say_it(
    serve: Serve, tmp_path: Path, returned: str, kept: bytes
) -> None:
    assert bytes(result(start(serve, tmp_path, f"def fit(run): return {returned}")).value) == kept
