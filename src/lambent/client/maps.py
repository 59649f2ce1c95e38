"""Runs that a client starts many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec

from lambent.core.invocation import new_id
from lambent.core.spec import Param
from lambent.wire.fanning import ITEMS_MAX, EndsRequest, EndsView, MapRequest, MapView, RunEnd
from lambent.wire.mapped import Mapped

WAIT_S: Final = 20.0  # for one answer of the server, which says sooner when there is something to say

T = TypeVar("T")
Post = Callable[[str, msgspec.Struct, type[Any]], Any]


def start(post: Post, job: str, items: Iterable[Mapping[str, Param]], terms: Mapping[str, Any]) -> Mapped:
    """Start a run for each item, a thousand to a request."""
    rest, runs, given = iter(items), list[str](), dict(terms)
    key = given.pop("key", "") or new_id()  # so that a request may be sent again
    while some := [dict(item) for item in islice(rest, ITEMS_MAX)]:
        request = MapRequest(job, some, key=key, first=len(runs), **given)
        started: MapView = post("/api/v1/runs/map", request, MapView)
        runs.extend(started.runs)

    def ends_of(first: tuple[str, ...]) -> Sequence[RunEnd]:
        found: EndsView = post("/api/v1/runs/ends", EndsRequest(first, wait_s=WAIT_S), EndsView)
        return found.ends

    return Mapped(job, runs, ends_of)
