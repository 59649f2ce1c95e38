"""Hugging Face's custom handlers: a class `EndpointHandler(path)` that is called with `{"inputs": ...}`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from lambent.runtimes.able import Able
from lambent.runtimes.faults import Fault
from lambent.wire.model_archive import REQUIREMENTS
from lambent.wire.process import RevisionPlan

NAME: Final = "EndpointHandler"
FILE: Final = "handler.py"


def is_one(found: object, attribute: str = "") -> bool:
    """Whether it is such a class, by its name or that of the `attribute` it is, and by what it can do."""
    if not isinstance(found, type) or NAME not in (found.__name__, attribute):
        return False
    return any("__call__" in base.__dict__ for base in found.__mro__)


def check_requirements(code_dir: str) -> None:
    """Before its file is imported. Raises `Fault` that names what its `requirements.txt` asks for in vain."""
    from lambent.runtimes.sagemaker import layout  # for repositories with such a file alone

    layout.check_requirements(Path(code_dir, REQUIREMENTS), REQUIREMENTS)


def able(found: type, plan: RevisionPlan) -> Able:
    """It loads in its `__init__`, from the folder that it lies in. Raises `Fault`, and as that does."""
    folder = plan.model_dir or plan.code_dir
    _check_takes(found, folder, "is made as EndpointHandler(path), with the folder of its files")
    handler: Callable[[object], object] = found(folder)
    _check_takes(handler, {}, 'is called with one argument, {"inputs": ...}')

    def predict(value: object) -> object:
        # A body that is no object, such as a picture, is what lies under `inputs`.
        return handler(value if isinstance(value, dict) else {"inputs": value})

    return Able(predict, lambda: None)


def _check_takes(call: Callable[..., Any], given: object, said: str) -> None:
    try:
        taken = inspect.signature(call)
    except ValueError:  # what is written in C may not tell
        return
    try:
        taken.bind(given)
    except TypeError as error:
        raise Fault(
            "Runtime.InvalidEntrypoint", f"an {NAME} {said}; this one takes {taken}: {error}"
        ) from error
