"""What was done to data before a model learnt from it: it goes with the model, and is done to its inputs."""

from __future__ import annotations

from typing import Any, Final

import msgspec

TRANSFORM_FILE: Final = ".lambent/transform.json"  # inside a model artifact: a `Chain`


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One transform: its `name`, what it was applied to, and what it learnt of the data.

    `inputs` are the names of the values that it takes and `output` of the one that it makes of all of them;
    where that is empty, each stays under its own name. `code` is where user code is found, `module:function`.
    """

    name: str
    inputs: tuple[str, ...]
    output: str = ""
    options: dict[str, Any] = {}
    statistics: dict[str, Any] = {}
    code: str = ""


class Chain(msgspec.Struct, frozen=True):
    """Transforms in the order in which they are applied; `learnt_from` is the dataset, as `name@number`."""

    steps: tuple[Step, ...] = ()
    learnt_from: str = ""
