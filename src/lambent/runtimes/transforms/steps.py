"""Which transforms there are. Each is a module that learns from batches and applies what it learnt."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any, Final, Protocol, cast

from lambent.wire.transforms import Step

Values = dict[str, Any]

CALL: Final = "call"
NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "standardise": "lambent.runtimes.transforms.standardise",
        "resize": "lambent.runtimes.transforms.resize",
        "tokenise": "lambent.runtimes.transforms.tokenise",
        CALL: "lambent.runtimes.transforms.calling",
    }
)


class Transform(Protocol):
    """A module of a transform."""

    def inputs(self, values: Mapping[str, Any], options: Mapping[str, Any], /) -> Sequence[str]:
        """To which of these values, a first batch, it is applied unless told. Raises `ValueError`."""

    def learnt(self, batches: Callable[[], Iterable[Values]], step: Step, /) -> dict[str, Any]:
        """What is to be known of the data, as JSON. Raises `ValueError` for options that make no sense."""

    def applied(self, step: Step, values: Values, /) -> Values:
        """Those of `step.inputs` transformed, as arrays. The same values always give the same bytes."""

    def asked(self, value: object, /) -> object:
        """What a model's caller gives for one of the inputs, as a batch: perhaps it is a single item."""


def transform_of(name: str) -> Transform:
    """The transform of that name. Raises `ValueError`."""
    if name not in NAMES:
        known = ", ".join(one for one in NAMES if one != CALL)
        raise ValueError(f"there is no transform {name!r}: give {known}, or a function of your own")
    module: ModuleType = importlib.import_module(NAMES[name])
    return cast(Transform, module)


def known_options(options: Mapping[str, Any], *names: str) -> None:
    """Raise `ValueError` for an option that is none of these."""
    if unknown := [one for one in options if one not in names]:
        raise ValueError(f"there is no option {unknown[0]!r}; there is {', '.join(names)}")
