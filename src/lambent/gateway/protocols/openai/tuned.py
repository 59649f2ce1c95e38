"""What is told of a fine-tuning job: how its run stands, what happened to it, and the model that it left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lambent.core.series import Points
from lambent.core.slicing import FINAL, RunState
from lambent.storage.base import Run
from lambent.wire.openai.tuning import TuningJob
from lambent.wire.skills import Json

TOKENS: Final = "trained_tokens"  # the metric by which a job says how many it has seen
REFUSED: Final = "model_refused"
LOSSES: Final = ("train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy")


def status_of(run: Run) -> str:
    """In OpenAI's words. A run between two of its slices runs; one whose model does not serve has failed."""
    if run.state is RunState.QUEUED:
        return "running" if run.slices else "queued"
    if run.state is RunState.SUCCEEDED:
        return "failed" if run.model_refused else "succeeded"
    if run.state is RunState.INTERRUPTED:
        return "failed"
    return run.state.value


def job_shown(job: TuningJob, run: Run) -> Json:
    """`fine_tuning.job`."""
    status = status_of(run)
    tokens = run.metrics.get(TOKENS)
    is_over = run.state in FINAL and run.ended_unix_ms is not None
    return {
        **job.shown(),
        "status": status,
        "error": _error(run) if status == "failed" else None,
        "fine_tuned_model": job.deployment if status == "succeeded" else None,
        "finished_at": (run.ended_unix_ms or 0) // 1000 if is_over else None,
        "trained_tokens": None if tokens is None else int(tokens),
    }


def checkpoints_of(job: TuningJob, run: Run) -> list[Json]:
    """The model that serves. Checkpoints before the end are the run's own, and no model."""
    if status_of(run) != "succeeded":
        return []
    step = max(0, run.step)
    return [
        {
            "id": job.id.replace("ftjob-", "ftckpt-"),
            "object": "fine_tuning.job.checkpoint",
            "created_at": (run.ended_unix_ms or run.created_unix_ms) // 1000,
            "fine_tuned_model_checkpoint": job.deployment,
            "fine_tuning_job_id": job.id,
            "step_number": step,
            "metrics": {"step": step, **{name: run.metrics[name] for name in LOSSES if name in run.metrics}},
        }
    ]


def events_of(job: TuningJob, run: Run, curves: Mapping[str, Points]) -> list[Json]:
    """Newest first: all that is known of the run."""
    told = _Told(job.id.replace("ftjob-", "ftevent-"))
    told.say(run.created_unix_ms, "created", f"Created fine-tuning job: {job.id}")
    told.say(run.created_unix_ms, "validated", f"Files kept for run {run.id} of job {run.job}")
    if run.started_unix_ms is not None:
        told.say(run.started_unix_ms, "started", "Fine-tuning job started")
    for step, (unix_ms, values) in _steps(curves).items():
        words = ", ".join(f"{name}={value:g}" for name, value in sorted(values.items()))
        told.say(unix_ms, f"step-{step}", f"Step {step}: {words}", data={"step": step, **values})
    if run.checkpoint_unix_ms is not None:
        told.say(run.checkpoint_unix_ms, f"checkpoint-{run.step}", f"State kept at step {run.step}")
    now_unix_ms = run.ended_unix_ms or run.checkpoint_unix_ms or run.started_unix_ms or run.created_unix_ms
    if run.warning:
        told.say(now_unix_ms, "warning", run.warning, level="warn")
    if run.state in FINAL:
        _end(told, job, run, now_unix_ms)
    return told.newest_first()


def _end(told: _Told, job: TuningJob, run: Run, unix_ms: int) -> None:
    status = status_of(run)
    if status == "succeeded":
        told.say(unix_ms, "model", f"New fine-tuned model: {job.deployment}")
        told.say(unix_ms, "end", "The job has successfully completed")
    elif status == "cancelled":
        told.say(unix_ms, "end", "Fine-tuning job cancelled", level="warn")
    else:
        told.say(unix_ms, "end", f"Fine-tuning job failed: {_error(run)['message']}", level="error")


class _Told:
    """Events, each with an id that stays the same however often they are listed."""

    def __init__(self, prefix: str) -> None:
        self._prefix: Final = prefix
        self._events: Final[list[tuple[int, int, Json]]] = []

    def say(
        self, unix_ms: int, what: str, message: str, *, level: str = "info", data: Json | None = None
    ) -> None:
        """The next; of one moment, the later said is the newer."""
        event = {
            "id": f"{self._prefix}-{what}",
            "object": "fine_tuning.job.event",
            "created_at": unix_ms // 1000,
            "level": level,
            "message": message,
            "type": "message" if data is None else "metrics",
            "data": data or {},
        }
        self._events.append((unix_ms, len(self._events), event))

    def newest_first(self) -> list[Json]:
        """All of them."""
        return [event for _, _, event in sorted(self._events, key=lambda one: one[:2], reverse=True)]


def _steps(curves: Mapping[str, Points]) -> dict[int, tuple[int, dict[str, float]]]:
    found: dict[int, tuple[int, dict[str, float]]] = {}
    for name, points in curves.items():
        for step, value, unix_ms in zip(points.steps, points.values, points.unix_ms, strict=True):
            before_ms, values = found.get(step, (0, {}))
            found[step] = max(before_ms, unix_ms), {**values, name: value}
    return found


def _error(run: Run) -> Json:
    if run.model_refused and run.state is RunState.SUCCEEDED:
        return {"code": REFUSED, "message": run.model_refused, "param": None}
    return {"code": run.exit or run.state.value, "message": run.reason or "the run failed", "param": None}
