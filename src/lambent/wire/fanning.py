"""Shapes of fan-out: runs that are started many at once, and what becomes of them.

A job asks for them over the stream of its worker: an `Ask` whose content type is one of these here has such a
body, and is about runs and not about an invocation.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypedDict

import msgspec

from lambent.core.spec import Param
from lambent.wire.runs import Dollars, Priority

START: Final = "application/vnd.lambent.map+json"  # a `MapRequest`; the answer is a `MapView`
AWAIT: Final = "application/vnd.lambent.ends+json"  # an `EndsRequest`; the answer is an `EndsView`
ITEMS_MAX: Final = 1000  # of one request; a longer map is sent in several
AWAITED_MAX: Final = 100  # of one request
WAIT_S_MAX: Final = 60.0

Items = Annotated[list[dict[str, Param]], msgspec.Meta(min_length=1, max_length=ITEMS_MAX)]


class MapRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Start a run of the job for each of `items`, its parameters. They are stored all together or not at all.

    `first` is the index of the first item, where a map is sent in several requests. However often an item is
    sent with the same `key` and index, it is one run. The rest is as for one run.
    """

    job: str
    items: Items
    key: str = ""
    first: Annotated[int, msgspec.Meta(ge=0, le=10**9)] = 0
    max_cost_usd: Dollars = 0.0
    priority: Priority | None = None
    datasets: dict[str, int] = {}


class TermsOfItems(TypedDict, total=False):
    """What may be said of each run of a map, beside its parameters."""

    priority: int | None
    max_cost_usd: float
    datasets: dict[str, int]


class MapTerms(TermsOfItems, total=False):
    """The same of a map that is asked for from outside."""

    key: str


class MapView(msgspec.Struct, frozen=True):
    """The runs, in the order of their items."""

    runs: tuple[str, ...]


class EndsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Wait until the first of `runs` is over, but no longer than `wait_s` seconds."""

    runs: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=AWAITED_MAX)]
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=WAIT_S_MAX)] = 0.0


class RunEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended. `kind` is empty where it succeeded, and else one word for why it did not."""

    run: str
    value: Any = None
    kind: str = ""
    message: str = ""


class EndsView(msgspec.Struct, frozen=True):
    """How the first of them ended, up to one that is not over. `is_leaving`: who asks is to end its slice."""

    ends: tuple[RunEnd, ...]
    is_leaving: bool = False
