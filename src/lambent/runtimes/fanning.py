"""A job that starts runs: `run.map("score", items)`, whose results come in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from lambent.core.errors import CallFailed
from lambent.core.invocation import Status
from lambent.core.mapping import map_key
from lambent.core.spec import Param
from lambent.runtimes import calling
from lambent.runtimes.checkpoints import Checkpoints, Yielded
from lambent.runtimes.payload import asked
from lambent.wire.fanning import (
    AWAIT,
    ITEMS_MAX,
    START,
    EndsRequest,
    EndsView,
    MapRequest,
    MapView,
    RunEnd,
)
from lambent.wire.frames import read_error
from lambent.wire.mapped import Mapped


class Maps:
    """The maps of one run."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints: Final = checkpoints
        self._since: int | None = None
        self._number = 0

    def start(self, job: str, items: Iterable[Mapping[str, Param]], terms: Mapping[str, Any]) -> Mapped:
        """Start a run for each item, or find the one that was started for it before."""
        key, rest = self._key(), iter(items)
        runs: list[str] = []
        while some := [dict(item) for item in islice(rest, ITEMS_MAX)]:
            request = MapRequest(job, some, key=key, first=len(runs), **terms)
            runs.extend(asked(_asked(job, request, START), MapView).runs)
        return Mapped(job, runs, lambda first: _ends(job, first))

    def _key(self) -> str:
        if self._since != (since := self._checkpoints.since):
            self._since, self._number = since, 0
        self._number += 1
        return map_key(since, self._number)


def _ends(job: str, runs: tuple[str, ...]) -> Sequence[RunEnd]:
    found = asked(_asked(job, EndsRequest(runs), AWAIT), EndsView)
    if not found.ends and found.is_leaving:
        raise Yielded
    return found.ends


def _asked(job: str, request: msgspec.Struct, content_type: str) -> bytes:
    caller = calling.in_use()
    if caller is None:
        raise RuntimeError(calling.NOWHERE.format("run.map") + "Elsewhere use lambent.Client().map_runs.")
    told, body = caller.ask(job, msgspec.json.encode(request), content_type, alias="", timeout_s=0.0).wait()
    if told.status is Status.OK:
        return bytes(body)
    error = read_error(bytes(body))
    raise CallFailed(job, error.error_type, error.error_message)
