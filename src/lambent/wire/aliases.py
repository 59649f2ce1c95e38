"""Shapes of the control API: aliases, and revisions on trial."""

from __future__ import annotations

from typing import Annotated

import msgspec

from lambent.core.canary import P95_MS_MAX, P95_MS_MIN, PROMOTE_S_MAX, PROMOTE_S_MIN, RATE_MAX, RATE_MIN

Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Rate = Annotated[float, msgspec.Meta(ge=RATE_MIN, le=RATE_MAX)]
P95Ms = Annotated[float, msgspec.Meta(ge=P95_MS_MIN, le=P95_MS_MAX)]
PromoteS = Annotated[float, msgspec.Meta(ge=PROMOTE_S_MIN, le=PROMOTE_S_MAX)]


class Canary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Try what is deployed on `percent` of the deployment's own traffic, beside what is active.

    It goes back by itself where, beyond doubt, more than `max_error_rate` of its calls fail or their 95th
    percentile is above `max_p95_ms`, and the active revision is not as bad. It takes over when it is
    promoted, or by itself after it was well for `promote_after_s`. Callers with the same value of
    `sticky_header` get the same revision.
    """

    percent: Percent
    sticky_header: str = ""
    max_error_rate: Rate | None = 0.05
    max_p95_ms: P95Ms | None = None
    promote_after_s: PromoteS | None = None


class AliasRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let an alias stand for the revision with this number, or, for `percent` of calls, for a `candidate`.

    The other fields are those of `Canary`.
    """

    revision: int
    candidate: int | None = None
    percent: Percent = 0.0
    sticky_header: str = ""
    max_error_rate: Rate | None = None
    max_p95_ms: P95Ms | None = None
    promote_after_s: PromoteS | None = None


class PromoteRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let what is on trial have `percent` of the traffic; with all of it, it takes over.

    `alias` is empty for the deployment's own traffic.
    """

    alias: str = ""
    percent: Percent = 100.0


class TrialView(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the calls to a candidate and, over the same time, to the revision beside it.

    `slow` of the `timed` ones took longer than the bound; those that waited for a wake are not timed.
    """

    calls: int
    failed: int
    timed: int
    slow: int
    old_calls: int
    old_failed: int
    old_timed: int
    old_slow: int
    state: str


class AliasView(msgspec.Struct, frozen=True, kw_only=True):
    """An alias; the deployment's own has an empty name and is there while, or after, something was tried.

    Revisions are told by number. `note` says how the last trial ended.
    """

    name: str
    revision: int
    candidate: int | None
    percent: float
    sticky_header: str
    max_error_rate: float | None
    max_p95_ms: float | None
    promote_after_s: float | None
    changed_unix_ms: int
    note: str
    trial: TrialView | None = None
