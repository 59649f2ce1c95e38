"""The model runtime: a class with `load` and `predict`, or a model file without any code."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from lambent.runtimes import endpoint_handler, logs
from lambent.runtimes.able import Able
from lambent.runtimes.awaiting import Awaiter
from lambent.runtimes.base import AsyncLine, Line, Loading, Reply, Request, Servable
from lambent.runtimes.entry import parse, resolve
from lambent.runtimes.faults import Fault
from lambent.runtimes.together import Forms, in_groups
from lambent.wire.process import RevisionPlan

if TYPE_CHECKING:
    from lambent.runtimes.adapters.predictor import Predictor
    from lambent.runtimes.skills import Skills

FILES_SHOWN_MAX: Final = 20
# What each parked worker keeps in memory of an example is bounded by this.
EXAMPLE_NUMBERS_MAX: Final = 16_384
# The methods beside `predict`, by name: what has to do with them is imported for a model that has one.
SKILLS: Final = ("chat", "complete", "embed", "rerank", "transcribe")
TALKS: Final = "gguf"  # the adapter whose files have these methods without any code

Network = TypeVar("Network")


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

    def transform(self, inputs: object) -> object:
        """Raw inputs as the model learnt from them, by what `run.transform` has left; else as they are.

        `load` does it by itself: this is for code that reads its files in a way of its own. Raises
        `ValueError` for inputs that do not fit.
        """
        from lambent.runtimes.transforms.applying import chain_of, for_model

        chain = chain_of(self.path)
        return inputs if chain is None else for_model(chain, ())(inputs)

    def load(self, name: str = "") -> Predictor:
        """The model itself: arrays in, arrays out (see `Predictor`), in the fastest form that may be forked.

        Where the data that it learnt from was transformed, its inputs are transformed alike.
        `name` is needed where there is more than one. Raises `BadModel` where there is none or it cannot be
        read.
        """
        from lambent.runtimes.adapters.files import open_model

        return open_model(self.path, name)

    def state_dict(self, name: str = "") -> OrderedDict[str, Any]:
        """torch's tensors by name, on memory that is mapped from files and that all workers share.

        For `module.load_state_dict(..., assign=True)`; without `assign` they would be copied. `name` as for
        `load`. Raises `BadModel`.
        """
        from lambent.runtimes.adapters.files import open_weights

        return open_weights(self.path, name)

    def load_into(self, module: Network, name: str = "") -> Network:
        """Let a torch module use the tensors of `state_dict(name)` themselves, and return the module.

        Types are the file's, tied parameters stay tied. Raises `BadModel`, and `RuntimeError` for names or
        shapes that do not fit.
        """
        tensors = self.state_dict(name)
        from lambent.runtimes.adapters.weights import load_into

        load_into(module, tensors)
        return module

    def __repr__(self) -> str:
        return f"ModelFiles({str(self.path)!r})"


class Model:
    """A loaded model: something that takes decoded inputs and returns what can be written as JSON."""

    def __init__(self, able: Able, log: logs.RequestLog, *, max_batch: int = 1) -> None:
        self._skills: Final = able.skills
        self._predict: Final = able.predict or _same
        self._together: Final = able.together
        self._rehearse: Final = able.rehearse
        self._example: Final = able.example
        self._read: Final = able.read
        self._write: Final = able.write
        self._log: Final = log
        self._awaiter: Final = Awaiter()
        self._forms: Final = Forms(max_batch)

    def __call__(self, request: Request, line: Line, /) -> Reply:
        """Run it once."""
        call = request.call
        self._log.request_id = call.invocation_id
        if self._skills is not None and (question := self._skills.wanted(call, request.body)) is not None:
            return self._skills.answer(question, line, self._awaiter.settled)
        result = self._predict(self._read(call, request.body))
        return self._write(call, self._awaiter.settled(result))

    async def converse(self, request: Request, line: AsyncLine, /) -> Reply:
        """Run it once, beside others on an event loop."""
        call = request.call
        self._log.request_id = call.invocation_id
        if self._skills is not None and (question := self._skills.wanted(call, request.body)) is not None:
            return await self._skills.converse(question, line)
        result = self._predict(self._read(call, request.body))
        return self._write(call, await result if isinstance(result, Awaitable) else result)

    def together(self, requests: Sequence[Request], /) -> Sequence[Reply | BaseException]:
        """Run it once for all of them; what is for a method beside `predict` is answered by that."""
        skills = self._skills
        if skills is None:
            return self._predicted(requests)
        own = [skills.answers(request.call) for request in requests]
        asked = [request for request, is_own in zip(requests, own, strict=True) if is_own]
        plain = [request for request, is_own in zip(requests, own, strict=True) if not is_own]
        answered = iter(skills.together(asked, self._awaiter.settled))
        predicted = iter(self._predicted(plain) if plain else ())
        return [next(answered if is_own else predicted) for is_own in own]

    def practise(self, request: Request, line: Line, /) -> Reply:
        """Run the model itself, where it is served without user code and that leaves it fit to be forked."""
        if self._example:
            return self(Request(request.call, self._example), line)
        return Model(Able(_same, dict), self._log)(request, line)

    def rehearse(self) -> None:
        """Run it on an example, where one is known. Raises what user code raises."""
        self._awaiter.settled(self._rehearse())

    def _predicted(self, requests: Sequence[Request]) -> Sequence[Reply | BaseException]:
        self._log.request_id = requests[0].call.invocation_id
        values = [self._decoded(request) for request in requests]
        if self._together is not None:
            ended = self._together(values, self._forms)
        else:
            ended = in_groups(
                values, self._ran, self._forms, again=lambda place: self._decoded(requests[place])
            )
        return [
            end if isinstance(end, BaseException) else self._encoded(request, end)
            for request, end in zip(requests, ended, strict=True)
        ]

    def _decoded(self, request: Request) -> object:
        try:
            return self._read(request.call, request.body)
        except (Fault, ValueError) as error:
            return error

    def _encoded(self, request: Request, result: object) -> Reply | BaseException:
        try:
            return self._write(request.call, result)
        except (Fault, ValueError) as error:
            return error

    def _ran(self, value: object) -> object:
        return self._awaiter.settled(self._predict(value))


def load(plan: RevisionPlan, loading: Loading) -> Servable:
    """Import the user's class and let it load, or open the model's file. Raises `Fault`, `BadModel`."""
    log = logs.install()
    if not plan.entrypoint:
        with loading.part("load"):
            return _served(_without_code(plan), plan, log)
    with loading.part("init"):
        found = resolve(plan.entrypoint, plan.code_dir)
    with loading.part("load"):
        return _served(_with_code(found, plan), plan, log)


def _served(able: Able, plan: RevisionPlan, log: logs.RequestLog) -> Servable:
    model = Model(able, log, max_batch=plan.max_batch)
    if plan.concurrency == 1 or not (plan.threaded or able.skills):
        return model
    from lambent.runtimes.conversing import Conversing  # asyncio is not every worker's business

    return Conversing(model, plan)


def _with_code(found: object, plan: RevisionPlan) -> Able:
    if endpoint_handler.is_one(found, parse(plan.entrypoint).attribute):
        return endpoint_handler.able(cast(type, found), plan)
    instance = found() if isinstance(found, type) else found
    predict: Callable[[object], object] | None = getattr(instance, "predict", None)
    skills = _skills_of(instance, plan)
    if not callable(predict) and skills is None:
        message = f"Model '{plan.entrypoint}' has no method predict(self, inputs), nor {', '.join(SKILLS)}"
        raise Fault("Runtime.HandlerNotFound", message)
    if callable(prepare := getattr(instance, "load", None)):
        # A model that was deployed without a model artifact may carry its files beside its code.
        files = ModelFiles(Path(plan.model_dir or plan.code_dir))
        with closing(Awaiter()) as awaiter:  # a loop that stayed open would be shared by the forks
            awaiter.settled(prepare(files))
    example = getattr(instance, "example", None)
    rehearse = (lambda: None) if example is None or predict is None else partial(predict, example)
    from lambent.runtimes.predict_v1.answers import OfClass, taught

    return taught(Able(predict, rehearse, skills=skills), OfClass(instance))


def _skills_of(instance: object, plan: RevisionPlan) -> Skills | None:
    if not any(callable(getattr(instance, name, None)) for name in SKILLS):
        return None
    from lambent.runtimes.skills import Skills

    return Skills(instance, plan.deployment)


def _without_code(plan: RevisionPlan) -> Able:
    from lambent.runtimes.adapters.agreement import free_size
    from lambent.runtimes.adapters.exchange import read, write
    from lambent.runtimes.adapters.files import open_model
    from lambent.runtimes.adapters.instances import answer, answer_together
    from lambent.runtimes.predict_v1.answers import OfFile, refusing, refusing_each, taught

    if plan.adapter == TALKS:
        return _talking(plan)
    predictor = open_model(Path(plan.model_dir or plan.code_dir))
    answers = partial(answer, predictor)
    able = Able(
        refusing(answers),
        partial(free_size, predictor),
        refusing_each(partial(answer_together, predictor)),
        _example(predictor),
        read,
        write,
    )
    return taught(able, OfFile(answers))


def _talking(plan: RevisionPlan) -> Able:
    from lambent.runtimes.adapters.files import open_talker
    from lambent.runtimes.skills import Skills

    talker = open_talker(Path(plan.model_dir or plan.code_dir), slots=plan.concurrency)
    return Able(None, lambda: None, skills=Skills(talker, plan.deployment))


def _same(inputs: object) -> object:
    return inputs


def _example(predictor: Predictor) -> bytes:
    zeros = predictor.zeros()
    if zeros is None or sum(array.size for array in zeros.values()) > EXAMPLE_NUMBERS_MAX:
        return b""
    return msgspec.json.encode({"inputs": {name: array.tolist() for name, array in zeros.items()}})
