"""The model runtime: a class with `load` and `predict`, or a model file without any code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lambent.runtimes import logs, payload
from lambent.runtimes.awaiting import Awaiter
from lambent.runtimes.base import Loading, Reply, Request
from lambent.runtimes.entry import resolve
from lambent.runtimes.faults import Fault
from lambent.wire.process import RevisionPlan

if TYPE_CHECKING:
    from lambent.runtimes.adapters.predictor import Predictor

FILES_SHOWN_MAX: Final = 20


class ModelFiles:
    """The files of a model, as `load(self, model)` gets them."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path

    def file(self, name: str) -> Path:
        """The path of one file. Raises `FileNotFoundError` that lists what there is."""
        found = self.path / name
        if found.exists():
            return found
        there = sorted(
            path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file()
        )
        shown = ", ".join(there[:FILES_SHOWN_MAX]) or "no file"
        raise FileNotFoundError(f"the model has no file {name!r}; it has {shown}")

    def load(self, name: str = "") -> Predictor:
        """The model itself: arrays in, arrays out (see `Predictor`), in the fastest form that may be forked.

        `name` is needed where there is more than one. Raises `BadModel` where there is none or it cannot be
        read.
        """
        from lambent.runtimes.adapters.files import open_model

        return open_model(self.path, name)

    def __repr__(self) -> str:
        return f"ModelFiles({str(self.path)!r})"


class Model:
    """A loaded model: something that takes decoded inputs and returns what can be written as JSON."""

    def __init__(self, predict: Callable[[object], object], log: logs.RequestLog) -> None:
        self._predict: Final = predict
        self._log: Final = log
        self._awaiter: Final = Awaiter()

    def __call__(self, request: Request, /) -> Reply:
        """Run it once."""
        call = request.call
        self._log.request_id = call.invocation_id
        result = self._predict(payload.decode(call.content_type, request.body))
        return payload.encode(self._awaiter.settled(result))


def load(plan: RevisionPlan, loading: Loading) -> Model:
    """Import the user's class and let it load, or open the model's file. Raises `Fault`, `BadModel`."""
    log = logs.install()
    if not plan.entrypoint:
        with loading.part("load"):
            return Model(_without_code(plan), log)
    with loading.part("init"):
        found = resolve(plan.entrypoint, plan.code_dir)
    with loading.part("load"):
        return Model(_with_code(found, plan), log)


def _with_code(found: object, plan: RevisionPlan) -> Callable[[object], object]:
    instance = found() if isinstance(found, type) else found
    predict: Callable[[object], object] | None = getattr(instance, "predict", None)
    if not callable(predict):
        message = f"Model '{plan.entrypoint}' has no method predict(self, inputs)"
        raise Fault("Runtime.HandlerNotFound", message)
    if callable(prepare := getattr(instance, "load", None)):
        # A model that was deployed without a model artifact may carry its files beside its code.
        files = ModelFiles(Path(plan.model_dir or plan.code_dir))
        with closing(Awaiter()) as awaiter:  # a loop that stayed open would be shared by the forks
            awaiter.settled(prepare(files))
    return predict


def _without_code(plan: RevisionPlan) -> Callable[[object], object]:
    from lambent.runtimes.adapters.files import open_model
    from lambent.runtimes.adapters.instances import answer

    predictor = open_model(Path(plan.model_dir or plan.code_dir))

    def predict(inputs: object) -> Mapping[str, object]:
        return answer(predictor, inputs)

    return predict
