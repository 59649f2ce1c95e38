"""Shapes of the control API: runs of jobs."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

import msgspec

from lambent.core.series import Points
from lambent.core.spec import Param

Dollars = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Priority = Annotated[int, msgspec.Meta(ge=-1000, le=1000)]


class RunRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Start a job.

    Its run starts once the runs `after` have succeeded; who has the higher `priority` goes first, null for
    that of the job. It has these versions of `datasets`, by name, and the newest of the others. It is asked
    to end with a checkpoint when it has cost `max_cost_usd`; 0: what the job says, which may be never.
    However often the same `key` is sent for a job, it is one run.
    """

    job: str
    params: dict[str, Param] = {}
    max_cost_usd: Dollars = 0.0
    after: tuple[str, ...] = ()
    priority: Priority | None = None
    datasets: dict[str, int] = {}
    key: str = ""


class RetryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Let a run go on. All that it has cost counts for `max_cost_usd`; null for the bound that it had."""

    max_cost_usd: Dollars | None = None


class RunTerms(TypedDict, total=False):
    """What a `RunRequest` may say beside the job and its parameters."""

    after: tuple[str, ...]
    priority: int | None
    max_cost_usd: float
    datasets: dict[str, int]
    key: str


class RunsWanted(TypedDict, total=False):
    """Which runs to list. `before` is the last run of the page before; `limit` how many, up to 1,000."""

    job: str
    deployment: str
    state: str
    parent: str
    before: str
    limit: int


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a job. `state`: queued, running, succeeded, failed, cancelled, interrupted.

    `progress` is from 0 to 1 where the job says it; `metrics` the last value of each. `step` is that of the
    last checkpoint, -1 before the first; `attempts` are the failures since it last moved on. `exit` is one
    word for how it ended, `reason` a sentence; `result` what the job returned. While it is queued, `reason`
    says what it waits for. `cost_usd` is by the prices of `price_plan`; `forecast_usd` and `left_s` say what
    it will have cost at its end and how many seconds more it will run, where it tells its progress.
    """

    run: str
    job: str
    for_deployment: str
    state: str
    reason: str
    progress: float
    message: str
    metrics: dict[str, float]
    params: dict[str, Param]
    model_number: int | None
    created_unix_ms: int
    ended_unix_ms: int | None
    started_unix_ms: int | None = None
    due_unix_ms: int = 0
    slices: int = 0
    running_ms: int = 0
    step: int = -1
    checkpoint_unix_ms: int | None = None
    attempts: int = 0
    priority: int = 0
    after: tuple[str, ...] = ()
    parent: str = ""
    index: int = 0
    datasets: dict[str, int] = {}
    max_cost_usd: float = 0.0
    cost_usd: float = 0.0
    exit: str = ""
    result: Any = None
    model_refused: str = ""
    warning: str = ""
    price_plan: str = ""
    forecast_usd: float | None = None
    left_s: float | None = None


class MetricsView(msgspec.Struct, frozen=True):
    """What a run has logged: the curve of each metric, by its name."""

    run: str
    curves: dict[str, Points]


class SavedView(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a run has saved. `path` is as the run named it, with slashes."""

    path: str
    size_bytes: int
    unix_ms: int
