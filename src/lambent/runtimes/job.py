"""The job runtime: durable work, `entrypoint(run)`, that reports progress and leaves a model behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, SupportsFloat, Unpack

import msgspec

from lambent.clock import Clock
from lambent.core.spec import Param
from lambent.runtimes import logs, payload, threads
from lambent.runtimes.awaiting import Awaiter
from lambent.runtimes.base import Line, Loading, Reply, Request
from lambent.runtimes.checkpoints import Checkpoints, Yielded
from lambent.runtimes.datasets.of_run import DataOfRun
from lambent.runtimes.entry import resolve
from lambent.runtimes.faults import Fault
from lambent.runtimes.news import Later, Metric, NewsDesk, in_a_while, numbers
from lambent.runtimes.outputs import say
from lambent.runtimes.prepare import prepared
from lambent.runtimes.saving import SAVED, SavedFiles
from lambent.wire.oneshot import MODEL_DIR, NOTHING, JobCall, JobResult
from lambent.wire.process import RevisionPlan

if TYPE_CHECKING:
    from lambent.runtimes.datasets.dataset import Dataset
    from lambent.runtimes.fanning import Maps
    from lambent.runtimes.gate import Judgement
    from lambent.wire.fanning import TermsOfItems
    from lambent.wire.mapped import Mapped
    from lambent.wire.transforms import Chain

ARENA_DIR: Final = "arena"  # in the work folder, where the server gives no other: states last as long as that


class Params(Mapping[str, Param]):
    """What a run was started with: `params["epochs"]`, `params.epochs` or `params.get("epochs", 5)`."""

    def __init__(self, values: Mapping[str, Param]) -> None:
        self._values: Final = dict(values)

    def __getitem__(self, name: str) -> Param:
        return self._values[name]

    def __getattr__(self, name: str) -> Param:
        if name.startswith("_") or name not in self._values:
            there = ", ".join(self._values) or "none"
            raise AttributeError(f"the run has no parameter {name!r}; it has {there}")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Params({self._values!r})"


class Run:
    """One execution of a job, as its code sees it."""

    def __init__(
        self,
        call: JobCall,
        work_dir: Path,
        *,
        notify: Callable[[bytes], None],
        clock: Clock,
        later: Later = in_a_while,
    ) -> None:
        self.id: Final = call.run
        self.params: Final = Params(call.params)
        self.model_dir: Final = work_dir / MODEL_DIR
        self._news: Final = NewsDesk(notify, clock, later)
        self._reported: Final[dict[str, float]] = {}
        self._checkpoints: Final = Checkpoints(
            Path(call.arena) if call.arena else work_dir / ARENA_DIR,
            clock,
            slice_s=call.slice_ms / 1e3,
            beside=self._news,
        )
        self._maps: Maps | None = None
        self._data: Final = DataOfRun(call, work_dir, clock)
        self._saved: Final = SavedFiles(Path(call.artifacts_dir) if call.artifacts_dir else work_dir / SAVED)

    def log(
        self, step: int | None = None, *, progress: float | None = None, message: str = "", **metrics: Metric
    ) -> None:
        """Say how far the run is. `progress` goes from 0 to 1; the metrics make curves over `step`.

        Without a `step` a metric counts its own. May be called as often as you like: at most a thousand
        points of each curve are kept, and what is said in between is sent a few times a second. Values that
        are not finite are counted and left out. Raises `TypeError` for a metric that is no number.
        """
        share = None if progress is None else min(1.0, max(0.0, float(progress)))
        self._news.add(None if step is None else int(step), share, message, metrics)

    def data(self, name: str) -> Dataset:
        """A dataset, in the version that was the newest when this run was started. `NAME@N` makes sure of it.

        Raises `lambent.BadData` where it is not there, or a file of it is missing or was changed.
        """
        return self._data.open(name)

    def transform(
        self,
        what: str | Callable[..., Any] | Chain,
        dataset: Dataset,
        *,
        inputs: Sequence[str] = (),
        into: str = "",
        serve: bool = True,
        **options: Any,
    ) -> Dataset:
        """The dataset transformed, as arrays: computed once for the same data, code and options, then kept.

        `what` is `"standardise"` (`per`), `"resize"` (`size`, `mode`), `"tokenise"` (`level`, `length`,
        `vocabulary`), a function from a dict of arrays to another, or the `transform` of a dataset that was
        transformed before, whose means and words are then used again. `inputs` are what it is applied to;
        with `into` they become one array of that name. It goes with the model, whose inputs are then
        transformed alike before it predicts, unless `serve` is False. Raises `ValueError`, `BadData`.
        """
        return self._data.transform(
            what, dataset, inputs=tuple(inputs), into=into, serve=serve, options=options
        )

    def leave_transform(self) -> None:
        """Let what was learnt of the data go with the model, where there is one."""
        self._data.leave_for(self.model_dir)

    def map(self, job: str, items: Iterable[Mapping[str, Param]], **terms: Unpack[TermsOfItems]) -> Mapped:
        """Start a run of another job for each of `items`, its parameters; they are under way at once.

        Going over the answer gives how each ended, in their order, with its `value` or its `error`; all that
        they returned is `values()`, which raises `lambent.MapFailed` where one has failed. `terms` are as for
        `lambent.Client().run`: `priority`, which is this run's own unless given, `max_cost_usd`, `datasets`.
        A run that goes on after a kill, from its last checkpoint or its beginning, finds the runs that it had
        started; where it fails or is cancelled, so are they. Raises `CallFailed` where none can be started.
        """
        from lambent.runtimes.fanning import Maps  # few jobs start others

        self._maps = self._maps or Maps(self._checkpoints)
        return self._maps.start(job, items, terms)

    @property
    def artifacts_dir(self) -> Path:
        """What is written to this folder is kept with the run, within a bound, and can be downloaded."""
        return self._saved.folder()

    def save(self, path: str | os.PathLike[str], content: bytes | str | None = None) -> Path:
        """Keep a file with the run: a copy of `path`, or `content` under that name. The answer is where.

        A folder is copied with all that is in it. Raises `OSError`, and `ValueError` for a name that leads
        out of `artifacts_dir`.
        """
        return self._saved.save(Path(path), content)

    def report(self, **metrics: Metric) -> None:
        """State final metrics: they are stored with the run and with the model that it makes."""
        self._reported.update(numbers(metrics))

    def checkpoint(self, state: object, step: int | None = None, *, every_s: float | None = None) -> bool:
        """Make `state` what the run goes on from, whatever ends this worker, and say whether that was done.

        `state` is anything that can be pickled, or a function that returns it, which is called only where a
        commit is made. `step` is how far the run is with it; without one, one more than the last. With
        `every_s` nothing is done before so many seconds have passed since the last. When the slice is to end
        this does not return: another worker calls the job again, and `restore` gives it the state. Where
        there is no room for it, a line in the log says so and the run goes on. Raises what pickling raises.
        """
        if every_s is not None and not self._checkpoints.is_due(every_s):
            return False
        return self._checkpoints.commit(state, step)

    def restore(self) -> Any:
        """The state that was last committed, `None` for a run that begins.

        Random numbers go on from where they were: those of `random`, numpy, torch, Keras and TensorFlow.
        """
        return self._checkpoints.restore()

    @property
    def step(self) -> int:
        """The step of the last checkpoint; 0 where there is none."""
        return self._checkpoints.step

    def checkpoint_due(self, every_s: float | None = None) -> bool:
        """Whether `every_s` seconds have passed since the last checkpoint, or the slice is to end."""
        return self._checkpoints.is_due(every_s)

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint: often enough to lose little, and seldom enough to cost 1 %."""
        self._news.flush()
        return self._checkpoints.is_due()

    @property
    def ending(self) -> bool:
        """Whether the slice is to end: after the next checkpoint another worker goes on."""
        return self._checkpoints.ending

    def end_slice(self) -> None:
        """Let the slice end with the next checkpoint."""
        self._checkpoints.ask()

    @property
    def reported(self) -> dict[str, float]:
        """The final metrics that were stated so far."""
        return dict(self._reported)

    def close(self) -> dict[str, float]:
        """The final metrics; what was not sent yet is sent, and nothing is sent after it."""
        self._news.close()
        return self._reported


class Job:
    """A loaded job."""

    def __init__(self, work: Callable[[Run], object], plan: RevisionPlan, clock: Clock) -> None:
        self._work: Final = work
        self._plan: Final = plan
        self._clock: Final = clock

    def __call__(self, request: Request, line: Line, /) -> Reply:
        """Run it, then prepare what it left in its model folder. Raises `BadModel` where that is useless."""
        call = payload.asked(request.body, JobCall)
        run = Run(call, self._work_dir(call), notify=line.notify, clock=self._clock)
        run.model_dir.mkdir(parents=True, exist_ok=True)
        try:
            with _sigterm_ends_slice(run):
                returned = Awaiter().settled(self._work(run))
            run.leave_transform()
            ready = prepared(run.model_dir)
            judgement = self._judged(call, run, _returned(returned)) if call.gate and ready.files else None
        except Yielded:
            return Reply(msgspec.json.encode(JobResult(run.close(), yielded=True)))
        finally:
            metrics = run.close()
        result = JobResult(
            {**metrics, **_returned(returned)}, ready.files, ready.serving, value=_as_json(returned)
        )
        if judgement is not None:
            result = msgspec.structs.replace(
                result, metrics={**result.metrics, **judgement.metrics}, verdict=judgement.verdict
            )
        return Reply(msgspec.json.encode(result))

    def _judged(self, call: JobCall, run: Run, returned: Mapping[str, float]) -> Judgement:
        from lambent.runtimes.gate import Judge  # few jobs make a model that has a gate

        assert call.gate is not None
        return Judge(call.gate, self._plan.code_dir).judge(run, {**run.reported, **returned})

    def _work_dir(self, call: JobCall) -> Path:
        if work_dir := call.work_dir or self._plan.work_dir:
            return Path(work_dir)
        raise Fault("Runtime.InvalidPlan", "the job has no folder to work in: give a work_dir")


def _as_json(returned: object) -> msgspec.Raw:
    """What the job returned; nothing where JSON cannot say it: the work is done and must not be lost."""
    if returned is None:
        return NOTHING
    try:
        value = payload.encode(returned).body
        msgspec.json.decode(value)
    except (Fault, msgspec.DecodeError) as error:
        say(f"What the job returned is not kept, as JSON cannot say it: {error}\n")
        return NOTHING
    return msgspec.Raw(value)


@contextmanager
def _sigterm_ends_slice(run: Run) -> Iterator[None]:
    """Let SIGTERM ask for a checkpoint, beside what it does anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)

    def heard(number: int, frame: FrameType | None) -> None:
        run.end_slice()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, heard)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is heard:  # user code may want another
            signal.signal(signal.SIGTERM, before)


def load(plan: RevisionPlan, loading: Loading) -> Job:
    """Import the user's module. Raises `Fault` as for a handler, and whatever the module raises."""
    threads.use(len(os.sched_getaffinity(0)))  # who works for minutes may use all there is
    log = logs.install()
    log.request_id = plan.revision
    with loading.part("init"):
        work = resolve(plan.entrypoint, plan.code_dir)
    if not callable(work):
        raise Fault("Runtime.HandlerNotFound", f"Job '{plan.entrypoint}' is not callable")
    return Job(work, plan, loading.clock)


def _returned(value: object) -> dict[str, float]:
    """The metrics that a job returned, without what is no number: the work is done and must not be lost."""
    if not isinstance(value, Mapping):
        return {}
    return numbers({str(name): each for name, each in value.items() if isinstance(each, SupportsFloat)})
