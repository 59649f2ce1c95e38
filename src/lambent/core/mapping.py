"""Runs that are mapped over items: by what one is known again, and what is said where some failed. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from lambent.core.errors import CallFailed, UserFault
from lambent.core.spec import Param


class MapEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How the run of one item ended. `index` is the item's place, `error` is None where it succeeded."""

    run: str
    index: int
    error: CallFailed | None = None
    returned: Any = None

    @property
    def value(self) -> Any:
        """What the job returned, as JSON says it. Raises its error."""
        if self.error is not None:
            raise self.error
        return self.returned


class MapFailed(UserFault):
    """Some runs of a map failed. `ended` has them all, in order, with the results of the others."""

    code = "map_failed"

    def __init__(self, ended: Sequence[MapEnd]) -> None:
        failed = [one for one in ended if one.error is not None]
        first = f"the first is number {failed[0].index}: {failed[0].error}"
        super().__init__(f"{len(failed)} of {len(ended)} runs failed, {first}")
        self.ended = tuple(ended)


def values_of(ended: Sequence[MapEnd]) -> list[Any]:
    """What each returned. Raises `MapFailed` where one has failed."""
    if any(one.error is not None for one in ended):
        raise MapFailed(ended)
    return [one.returned for one in ended]


def item_key(key: str, index: int, params: Mapping[str, Param]) -> str:
    """By what the run of an item is known again when the map is asked for again. Empty without a `key`.

    The parameters belong to it: an item that has changed meanwhile is another run.
    """
    if not key:
        return ""
    said = msgspec.json.encode(dict(params), order="deterministic")
    return f"map/{key}/{index}/{hashlib.sha256(said).hexdigest()}"


def map_key(step: int | None, number: int) -> str:
    """The key of a job's map: so many maps since it had the state of that `step`, None for a run that begins.

    A job that goes on from a checkpoint makes the same maps again as it had made since that checkpoint, and
    finds their runs.
    """
    return f"{'begin' if step is None else step}.{number}"
