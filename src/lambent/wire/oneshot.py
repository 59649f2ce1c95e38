"""What the one-shot runtimes are asked and what they answer, as JSON in the body of their one call.

DESCRIBE, PREPARE and JOB are workers forked from the environment template; each answers a single call, marks
the answer `retiring` and exits.
"""

from __future__ import annotations

from typing import Final

import msgspec

from lambent.core.gating import Verdict
from lambent.core.series import Batch
from lambent.core.spec import Param
from lambent.core.tensors import UNKNOWN, Signature
from lambent.wire.api import Declaration

NOTHING: Final = msgspec.Raw(b"null")
MODEL_DIR: Final = "model"  # inside a job's work_dir: what `run.model_dir` is
SERVING_FILE: Final = ".lambent/serving.json"  # inside a prepared model artifact: a `Serving`


class DescribeCall(msgspec.Struct, frozen=True):
    """What does `target` declare? It is a path inside `plan.code_dir`: `app.py` or `app.py:handler`."""

    target: str


class Description(msgspec.Struct, frozen=True):
    """What a file of user code declares, and the installed packages that it imports at its top level.

    `imports` are names for `RevisionPlan.imports`: what an environment template can hold for it.
    """

    declarations: tuple[Declaration, ...]
    imports: tuple[str, ...] = ()


class PrepareCall(msgspec.Struct, frozen=True):
    """Make the files in `plan.work_dir` ready to be served.

    Where `plan.model_dir` is another folder, its files are copied there first. `file` names the model's file;
    empty means every one that there is.
    """

    file: str = ""


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """How a model artifact is served; stored in it as `SERVING_FILE`.

    `file` is what the user gave, read by `adapter`; `served_file`, read by `served_by`, gives the same
    outputs. `max_abs_difference` is the largest seen between the two on random inputs, `None` where they are
    one file or were not compared. `reason` says why the file is served as it is. `others` are further model
    files of the artifact, in the order of their names; which one is meant, user code must then say. `imports`
    are the packages that serve them all, for the environment template to hold. `mapped_bytes` of this one are
    mapped from files and shared by all processes. A file that `needs_code` holds weights and no network.
    `signature` is what it takes and gives as it is served, as far as the file tells;
    `skills` are what it can beside `predict`, or in place of it.
    """

    adapter: str
    file: str
    served_by: str
    served_file: str
    max_abs_difference: float | None = None
    reason: str = ""
    others: tuple[Serving, ...] = ()
    imports: tuple[str, ...] = ()
    mapped_bytes: int = 0
    needs_code: bool = False
    signature: Signature = UNKNOWN
    skills: tuple[str, ...] = ()


class Prepared(msgspec.Struct, frozen=True):
    """A prepared folder; no `serving` where no file is a model."""

    serving: Serving | None
    files: int


class DatasetRef(msgspec.Struct, frozen=True):
    """A version of a dataset that a run is held to: `path` is the folder of its files, `digest` theirs."""

    name: str
    number: int
    path: str
    digest: str


class Gate(msgspec.Struct, frozen=True):
    """How a model is judged before it serves, in the words of `core.gating`.

    `entrypoint` is the model class, which may say more; `champion_dir` are the files of the model that serves
    now, empty where none does, and `champion` the metrics that it was registered with.
    """

    accept: str
    entrypoint: str
    champion_dir: str = ""
    champion: dict[str, float] = {}


class JobCall(msgspec.Struct, frozen=True):
    """Run a slice of a job. `work_dir` may be written to and holds `MODEL_DIR`; empty means `plan.work_dir`.

    `arena` is the folder of the shared memory that checkpoints go to, empty where there is none; `checkpoint`
    is a file to go on from where the arena holds nothing. The slice is asked to end after `slice_ms`, 0 for
    never; `slice` counts those before it. `env` is set before user code is called.
    What is put into `artifacts_dir` is kept with the run; transformed data is kept for other runs in
    `transforms_dir`.
    """

    run: str
    params: dict[str, Param] = {}
    work_dir: str = ""
    arena: str = ""
    checkpoint: str = ""
    slice_ms: float = 0.0
    slice: int = 0
    rank: int = 0
    world: int = 1
    env: dict[str, str] = {}
    datasets: dict[str, DatasetRef] = {}
    gate: Gate | None = None
    artifacts_dir: str = ""
    transforms_dir: str = ""


class JobResult(msgspec.Struct, frozen=True):
    """What a slice that ended by itself says.

    A finished job tells its last metrics, what it left in its model folder, now prepared, and what it
    returned, as JSON, and the verdict of the gate where the call had one. One that `yielded` has committed
    its state and goes on in another slice.
    """

    metrics: dict[str, float] = {}
    files: int = 0
    serving: Serving | None = None
    yielded: bool = False
    value: msgspec.Raw = NOTHING
    verdict: Verdict | None = None


class News(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of a `Progress` frame. `progress` is from 0 to 1, `metrics` the last value of each."""

    progress: float | None = None
    message: str = ""
    step: int | None = None
    metrics: dict[str, float] = {}
    curves: dict[str, Batch] = {}
