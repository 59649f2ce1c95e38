"""The TorchServe runtime: a `.mar`, loaded by its handler's `initialize`, answered by its `handle`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from lambent.runtimes import logs, payload
from lambent.runtimes.awaiting import Awaiter
from lambent.runtimes.base import Line, Loading, Reply, Request
from lambent.runtimes.entry import import_module
from lambent.runtimes.faults import Fault
from lambent.runtimes.torchserve import exchange
from lambent.runtimes.torchserve.base_handler import BaseHandler
from lambent.runtimes.torchserve.context import Arrived, Context
from lambent.runtimes.torchserve.layout import (
    BASE,
    PACKAGE,
    SHIM,
    Handler,
    config_of,
    handler_of,
    is_installed,
    manifest_of,
    whole_manifest,
)
from lambent.runtimes.torchserve.words import PredictionException, list_classes_from_module
from lambent.wire.process import RevisionPlan

REFUSAL: Final = PredictionException.__name__


class Entry(msgspec.Struct, frozen=True):
    """What is called once, with the context, and what is called for each batch."""

    initialize: Callable[[Context], object]
    handle: Callable[[list[dict[str, object]], Context], object]


class BadAnswer(Fault):
    """A handler has answered what cannot be given to those who asked."""

    def __init__(self, message: str) -> None:
        super().__init__("Lambent.BadAnswer", message)


class TorchServeModel:
    """A loaded handler."""

    def __init__(self, entry: Entry, context: Context, log: logs.RequestLog, *, max_batch: int) -> None:
        self._entry: Final = entry
        self._context: Final = context
        self._log: Final = log
        self._max_batch: Final = max_batch
        self._awaiter: Final = Awaiter()
        self._takes_batches = True

    def __call__(self, request: Request, line: Line, /) -> Reply:
        """A batch of one."""
        return self._batch([request])[0]

    def together(self, requests: Sequence[Request], /) -> Sequence[Reply | BaseException]:
        """As batches of so many as its owner wants."""
        ended: list[Reply | BaseException] = []
        for start in range(0, len(requests), self._max_batch):
            ended.extend(self._part(requests[start : start + self._max_batch]))
        return ended

    def practise(self, request: Request, line: Line, /) -> Reply:
        """The handler is user code, and does not run."""
        return payload.encode(payload.decode(request.call.content_type, request.body))

    def _part(self, requests: Sequence[Request]) -> Sequence[Reply | BaseException]:
        """Where a batch fails each runs by itself, so that one that is bad fails alone."""
        if len(requests) > 1 and self._takes_batches:
            try:
                return self._batch(requests)
            except BadAnswer as error:
                self._takes_batches = False
                sys.stderr.write(f"[WARNING] {error}: its requests run one by one from now on\n")
            except Exception as error:  # noqa: BLE001 - around user code, which may raise anything
                sys.stderr.write(
                    f"[WARNING] a batch of {len(requests)} failed ({error}): they run one by one\n"
                )
        return [self._alone(request) for request in requests]

    def _alone(self, request: Request) -> Reply | BaseException:
        try:
            return self._batch([request])[0]
        except Exception as error:  # noqa: BLE001 - around user code, which may raise anything
            return error

    def _batch(self, requests: Sequence[Request]) -> Sequence[Reply]:
        """Raises `BadAnswer`, `Fault`, and what user code raises."""
        calls = [request.call for request in requests]
        self._log.request_id = calls[0].invocation_id
        given = [exchange.given(request.call, request.body) for request in requests]
        self._context.turn([Arrived(call.invocation_id, exchange.headers_of(call)) for call in calls])
        try:
            result = self._awaiter.settled(self._entry.handle(given, self._context))
        except Exception as error:
            if (fault := _refused(error)) is not None:
                raise fault from error
            raise
        if not isinstance(result, list) or len(result) != len(requests):
            came = f"{len(result)} answers" if isinstance(result, list) else f"a {type(result).__name__}"
            raise BadAnswer(
                f"handle() must return a list with an answer for each of {len(requests)} requests, not {came}"
            )
        return [
            exchange.reply_of(one, asked)
            for one, asked in zip(result, self._context.request_processor, strict=True)
        ]


def load(plan: RevisionPlan, loading: Loading) -> TorchServeModel:
    """Import the handler and let it initialize. Raises `Fault`, and whatever user code raises."""
    log = logs.install()
    folder = Path(plan.model_dir)
    manifest = manifest_of(folder)
    _enter(plan)
    context = Context(
        manifest.model.model_name or plan.deployment,
        plan.model_dir,
        whole_manifest(folder),
        batch_size=plan.max_batch,
        model_yaml_config=config_of(folder, manifest),
    )
    with loading.part("init"):
        handler = handler_of(folder, manifest)
        entry = _entry(_module(handler, plan.model_dir), handler)
    with loading.part("load"), closing(Awaiter()) as awaiter:
        awaiter.settled(entry.initialize(context))
    return TorchServeModel(entry, context, log, max_batch=plan.max_batch)


def _enter(plan: RevisionPlan) -> None:
    """The archive is the working folder and the first place of imports, TorchServe's stand-in the last."""
    os.chdir(plan.model_dir)
    sys.path.insert(0, plan.model_dir)
    if not is_installed():
        sys.path.append(str(SHIM))
    importlib.invalidate_caches()


def _module(handler: Handler, folder: str) -> ModuleType:
    if handler.is_built_in:
        return importlib.import_module(f"{PACKAGE}.torch_handler.{handler.module}")
    return import_module(handler.module, folder)


def _entry(module: ModuleType, handler: Handler) -> Entry:
    """A function is called without data to load; else there is one class. Raises `Fault`."""
    name = handler.function or "handle"
    function: Any = getattr(module, name, None)
    if callable(function):
        return Entry(lambda context: function(None, context), function)
    instance = _class(module, handler, name)()
    if not callable(getattr(instance, "handle", None)):
        raise _missing(
            f"{type(instance).__name__} in {module.__name__}.py has no handle(self, data, context)"
        )
    return Entry(getattr(instance, "initialize", lambda _: None), instance.handle)


def _class(module: ModuleType, handler: Handler, name: str) -> type[Any]:
    if handler.is_built_in and handler.module == BASE:
        found: type[Any] = getattr(module, BaseHandler.__name__)
        return found
    classes = list_classes_from_module(module)
    able = [one for one in classes if callable(getattr(one, "handle", None))] if len(classes) > 1 else classes
    if len(able) != 1:
        names = ", ".join(one.__name__ for one in classes) or "none"
        raise _missing(
            f"{module.__name__}.py must define the function {name}(data, context) or one class with such a "
            f"method; its classes are {names}"
        )
    return able[0]


def _missing(message: str) -> Fault:
    return Fault("Runtime.HandlerNotFound", message)


def _refused(error: Exception) -> Fault | None:
    """A handler's own refusal, of our class or TorchServe's, has a status for its caller."""
    if REFUSAL not in {each.__name__ for each in type(error).__mro__}:
        return None
    status = getattr(error, "error_code", None)
    is_status = isinstance(status, int) and 400 <= status <= 599
    said = str(getattr(error, "message", "") or error)
    return Fault(REFUSAL, said, status=status if is_status and status else 500)
