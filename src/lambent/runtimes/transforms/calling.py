"""A function of the user's own: it is given a batch, a dict of arrays by name, and returns one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lambent.runtimes.transforms.steps import Values
from lambent.wire.rows import BadData
from lambent.wire.transforms import Step


def inputs(values: Mapping[str, Any], _: Mapping[str, Any]) -> Sequence[str]:
    """All of them."""
    return [*values]


def learnt(_: Callable[[], Iterable[Values]], __: Step) -> dict[str, Any]:
    """Nothing that we know of."""
    return {}


def applied(step: Step, values: Values) -> Values:
    """What it returns. Raises what it raises, and `TypeError` where that is no dict."""
    found = function_of(step.code)({name: values[name] for name in step.inputs}, **step.options)
    if not isinstance(found, Mapping):
        raise TypeError(
            f"{step.code} returned a {type(found).__name__}: a dict of arrays by name is expected"
        )
    return dict(found)


def asked(value: object) -> object:
    """As it is."""
    return value


def function_of(code: str) -> Callable[..., Any]:
    """The function at `module:name`. Raises `BadData` where the code that serves has none such."""
    module, _, name = code.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise BadData(f"the model's inputs go through {code}, which is not there: {error}") from error
    function: Callable[..., Any] = found
    return function
