"""The SageMaker runtime: a `model.tar.gz` with `code/inference.py`, loaded by its own functions."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from lambent.core.invocation import JSON, Head
from lambent.runtimes import logs, payload
from lambent.runtimes.awaiting import Awaiter
from lambent.runtimes.base import Line, Loading, Reply, Request
from lambent.runtimes.context import sent_beside
from lambent.runtimes.entry import import_module, parse
from lambent.runtimes.faults import Fault
from lambent.runtimes.sagemaker import formats
from lambent.runtimes.sagemaker.context import Context
from lambent.runtimes.sagemaker.functions import Asked, Functions
from lambent.runtimes.streaming import stream, yields
from lambent.wire.model_archive import CODE
from lambent.wire.process import RevisionPlan

ACCEPT_DEFAULT: Final = "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT"
TOOLKIT_ERROR: Final = "BaseInferenceToolkitError"


class SageMakerModel:
    """A loaded model with its functions."""

    def __init__(self, functions: Functions, model: Any, plan: RevisionPlan, log: logs.RequestLog) -> None:
        self._functions: Final = functions
        self._model: Final = model
        self._plan: Final = plan
        self._log: Final = log
        self._awaiter: Final = Awaiter()

    def __call__(self, request: Request, line: Line, /) -> Reply:
        """Run it once."""
        call = request.call
        self._log.request_id = call.invocation_id
        headers = {"Content-Type": call.content_type, **sent_beside(call)}
        accept = _accept(headers)
        context = Context(self._plan.deployment, self._plan.model_dir, call.invocation_id, headers)
        body = formats.as_given(call.content_type, bytes(request.body))
        try:
            result = self._functions.answer(self._model, Asked(body, call.content_type, accept, context))
            return self._reply(self._awaiter.settled(result), accept, context, line)
        except Exception as error:
            if (fault := _of_toolkit(error)) is not None:
                raise fault from error
            raise

    def practise(self, request: Request, line: Line, /) -> Reply:
        """The functions are user code, and none of them runs."""
        return payload.encode(payload.decode(request.call.content_type, request.body))

    def _reply(self, result: Any, accept: str, context: Context, line: Line) -> Reply:
        content_type = context.get_response_content_type(0) or accept
        if isinstance(result, tuple):
            result, content_type = result[0], result[1]
        head = context.asked.head()
        if yields(result):
            line.begin(Head(head.status if head else 200, (("content-type", content_type),)))
            return stream(result, line)
        body = _bytes(result)
        return Reply(body, str(content_type), head)


def load(plan: RevisionPlan, loading: Loading) -> SageMakerModel:
    """Import the user's module and let it load the model. Raises `Fault`, and whatever user code raises."""
    log = logs.install()
    _enter(plan)
    code_dir = str(Path(plan.model_dir, CODE))
    with loading.part("init"):
        functions = Functions.of(import_module(parse(plan.entrypoint).module, code_dir))
    with loading.part("load"), closing(Awaiter()) as awaiter:
        context = Context(plan.deployment, plan.model_dir)
        model = awaiter.settled(functions.load(plan.model_dir, context))
    return SageMakerModel(functions, model, plan, log)


def _enter(plan: RevisionPlan) -> None:
    """The import path is `code/`, as in SageMaker's containers: the archive's root has no modules."""
    code_dir = str(Path(plan.model_dir, CODE))
    sys.path.insert(0, code_dir)
    surroundings = {"SM_MODEL_DIR": plan.model_dir, "SAGEMAKER_SUBMIT_DIRECTORY": code_dir}
    for name, value in surroundings.items():
        if name not in plan.env:
            os.environ[name] = value
    importlib.invalidate_caches()


def _accept(headers: Mapping[str, str]) -> str:
    asked = next((value for name, value in headers.items() if name.lower() == "accept"), "")
    return asked if asked not in ("", formats.ANY) else os.environ.get(ACCEPT_DEFAULT, JSON)


def _bytes(result: Any) -> bytes | bytearray | memoryview:
    """As the model server writes it: text and bytes as they are, all else as JSON."""
    if isinstance(result, str):
        return result.encode()
    return payload.encode(result).body


def _of_toolkit(error: Exception) -> Fault | None:
    """An error of sagemaker-inference, which user code may raise, has a status for its caller."""
    if TOOLKIT_ERROR not in {each.__name__ for each in type(error).__mro__}:
        return None
    status = getattr(error, "status_code", None)
    said = str(getattr(error, "message", "") or error)
    is_status = isinstance(status, int) and 400 <= status <= 599
    return Fault(type(error).__name__, said, status=status if is_status and status else 500)
