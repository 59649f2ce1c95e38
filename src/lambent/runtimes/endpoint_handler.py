"""Hugging Face's custom handlers: a class `EndpointHandler(path)` that is called with `{"inputs": ...}`."""

from __future__ import annotations

from typing import Final

from lambent.runtimes.able import Able
from lambent.wire.process import RevisionPlan

NAME: Final = "EndpointHandler"


def is_one(found: object) -> bool:
    """Whether it is such a class, by its name and by what it defines."""
    return isinstance(found, type) and found.__name__ == NAME and "__call__" in found.__dict__


def able(found: type, plan: RevisionPlan) -> Able:
    """It loads in its `__init__`, from the folder that it lies in. Raises what user code raises."""
    handler = found(plan.model_dir or plan.code_dir)

    def predict(value: object) -> object:
        # A body that is no object, such as a picture, is what lies under `inputs`.
        answer: object = handler(value if isinstance(value, dict) else {"inputs": value})
        return answer

    return Able(predict, lambda: None)
