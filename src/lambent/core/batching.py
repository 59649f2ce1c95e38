"""Which of the waiting invocations go out now as one batch, and which are refused because they come too late.

A batch takes what is there: nobody waits for company while a worker is idle, for under load company gathers
by itself while the batch before runs. How many are taken is what gets most done in a second, by the table
that was learnt, and what the oldest of them has time for. Where that would make a small batch of a long
queue, the oldest may be refused instead (early drop: Nexus, SOSP'19, section 6.3; that run times can be
foretold, and a refusal is better than a late answer: Clockwork, OSDI'20). Without it the oldest, who are
always nearly too late, keep the batches small, and a model whose cost is that of a batch and not of its rows
collapses (docs/decisions/0017).

A worker that is about to be free is sent its next batch a little before, so that it need not stand idle while
its answer and what follows are on their way.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate, islice
from math import inf
from operator import le
from typing import Final

import msgspec

from lambent.core.latency import KNOTS, STALE_BATCHES, TRIES, LatencyTable, LatencyTables

GAIN_MIN: Final = 1.02  # a larger batch must get so much more done in a second than a smaller one
WAIT_S_MIN: Final = 0.001  # a refusal may be so much late: who asks again at once would never end
ASIDE_SHARE: Final = 0.25  # of the target, that each part of `Aside` counts at most: more, and all seem late
COMFORT: Final = (0.3, 0.15)  # of the target: what is refused anyway had better be who is nearly late
HOPE: Final = 1.1  # a size that was hardly tried may be so many times better than it looks


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A waiting invocation that brings `size` rows. Times are monotonic; only one group goes into a batch.

    After `deadline_s` nobody wants its answer any more. The latency target counts from `arrived_s`: from the
    end of the wake, for one who waited for that.
    """

    arrived_s: float
    deadline_s: float = inf
    size: int = 1
    group: str = ""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"an invocation of {self.size} rows brings nothing")


class BatchPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner of a deployment wants. Raises `ValueError` for numbers that cannot be.

    `max_batch` is in rows; an item that alone has more goes alone. An answer later than `latency_target_s`
    after the arrival counts for nothing, unless no call is that fast. No batch is made that is expected to
    run for longer than `run_s_max`, unless a call alone does.
    """

    max_batch: int
    latency_target_s: float | None = None
    run_s_max: float = inf

    def __post_init__(self) -> None:
        target_s = self.latency_target_s
        if self.max_batch < 1 or self.run_s_max <= 0 or (target_s is not None and target_s <= 0):
            raise ValueError(f"{self} makes no batches")


class Reason(StrEnum):
    """Which rule made the batch as large as it is, or why there is none."""

    ALL = "all"  # everything that waits
    FULL = "full"  # max_batch
    BEST = "best"  # more would not get more done, was never tried, or would run for too long
    TARGET = "target"  # more would make the oldest late
    EARLY_DROP = "early_drop"  # the oldest were refused, so that more can be in time
    LATE = "late"  # all that wait are too late by the table
    BUSY = "busy"  # no worker is idle
    EMPTY = "empty"  # nothing waits, or nothing that anybody still wants


class Aside(msgspec.Struct, frozen=True, kw_only=True):
    """What passes beside the runs, in seconds.

    `hop_s` is the way to an idle worker and back: so much sooner a busy one may be sent its next batch.
    `tell_s` passes before an arrival is seen, and from a worker's answer until the last caller has his own.
    """

    hop_s: float = 0.0
    tell_s: float = 0.0

    def within(self, target_s: float | None) -> Aside:
        """No more of either than leaves room for a run."""
        most_s = ASIDE_SHARE * target_s if target_s is not None else inf
        if self.hop_s <= most_s and self.tell_s <= most_s:
            return self
        return Aside(hop_s=min(self.hop_s, most_s), tell_s=min(self.tell_s, most_s))


NOTHING: Final = Aside()


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The places in `waiting` to send now as one batch and those to refuse, both ascending, and why.

    Where no worker is idle, the batch is for the one that will be free first, to be run next. After a batch
    has been sent, ask again at once: there may be another worker. Else ask again when something arrives or
    ends, and after `wait_s` at the latest, unless it is `None`.
    """

    take: Sequence[int] = ()
    drop: Sequence[int] = ()
    wait_s: float | None = None
    reason: Reason


def due(
    waiting: Sequence[Item],
    tables: LatencyTables,
    policy: BatchPolicy,
    *,
    idle_workers: int,
    busy_until_s: Sequence[float] = (),
    aside: Aside = NOTHING,
    now_s: float,
) -> Decision:
    """What to do with those who wait, in the order of their arrival. Linear in their number.

    `busy_until_s` says of each worker that runs something when the answer to all of it will probably be here.
    """
    if not waiting:
        return Decision(reason=Reason.EMPTY)
    aside = aside.within(policy.latency_target_s)
    free_s = sorted([max(now_s, until_s) for until_s in busy_until_s])
    free_s[:0] = [now_s + aside.hop_s] * idle_workers
    # Until then nothing is decided: who comes meanwhile may go along.
    rest_s = 0.0 if idle_workers else free_s[0] - aside.hop_s - now_s if free_s and aside.hop_s else inf
    start_s = (free_s[0] if free_s else now_s) + aside.tell_s
    lane, late = _sift(waiting, tables, policy, start_s)
    if lane is None and rest_s <= 0:
        return _late_batch(waiting, tables, policy, now_s)
    if lane is None or not free_s:
        # To refuse them would help nobody, and a deployment that wakes is not overloaded.
        late = [place for place in late if waiting[place].deadline_s <= now_s]
    if lane is None or rest_s > 0:
        return Decision(drop=late, wait_s=_wait_s(lane, rest_s, aside.tell_s, now_s), reason=Reason.BUSY)
    lane.start_s = start_s
    lane.next_s = free_s[1] + aside.tell_s if len(free_s) > 1 else inf
    taken, reason = _batch(lane, policy)
    if isinstance(taken, range):
        take = lane.places[taken.start : taken.stop]
    else:
        take = [lane.places[index] for index in taken]
    if reason is Reason.EARLY_DROP:
        kept = set(take)
        late = sorted([*late, *(place for place in lane.places[: taken[-1]] if place not in kept)])
    return Decision(take=take, drop=late, reason=reason)


class _Lane:
    """Those of one group who can be in time, oldest first, and what they are up against."""

    __slots__ = ("dues_s", "in_order", "next_s", "places", "start_s", "table", "upto")

    def __init__(
        self,
        table: LatencyTable,
        places: Sequence[int],
        dues_s: Sequence[float],
        upto: Sequence[int],
        *,
        in_order: bool,
    ) -> None:
        self.table = table
        self.places = places  # in `waiting`
        self.dues_s = dues_s
        self.upto = upto  # rows of all before; one longer than the others
        self.in_order = in_order  # who came later is due later
        self.start_s = self.next_s = 0.0  # when this batch starts; when another worker is free

    def able(self, since: int, finish_s: float) -> Sequence[int]:
        """Those from `since` on who may be answered as late as `finish_s`."""
        dues_s = self.dues_s
        if self.in_order:
            return range(bisect_left(dues_s, finish_s, since), len(dues_s))
        return [index for index in range(since, len(dues_s)) if dues_s[index] >= finish_s]

    def packed(self, indices: Sequence[int], rows_max: int) -> Sequence[int]:
        """The first of them, as many as have room."""
        if self.upto[-1] == len(self.places):
            return indices[:rows_max]
        rows = 0
        for count, index in enumerate(indices):
            rows += self.upto[index + 1] - self.upto[index]
            if rows > rows_max:
                return indices[: max(1, count)]
        return indices

    def rows(self, indices: Sequence[int]) -> int:
        if self.upto[-1] == len(self.places):
            return len(indices)
        return sum(self.upto[index + 1] - self.upto[index] for index in indices)


def _sift(
    waiting: Sequence[Item], tables: LatencyTables, policy: BatchPolicy, start_s: float
) -> tuple[_Lane | None, Sequence[int]]:
    """The group of the oldest who can be in time, if he starts then; the places of all who cannot."""
    groups = {item.group for item in waiting}
    terms = {group: (table := tables.of(group), _target_s(table, policy)) for group in groups}
    if len(groups) == 1 and max([item.size for item in waiting]) == 1:
        ((table, target_s),) = terms.values()
        dues_s = [
            due_s if (due_s := item.arrived_s + target_s) < item.deadline_s else item.deadline_s
            for item in waiting
        ]
        if all(map(le, dues_s, islice(dues_s, 1, None))):
            return _sift_alike(table, dues_s, start_s)
    places: list[int] = []
    dues: list[float] = []
    upto, late = [0], []
    mine = None
    for place, item in enumerate(waiting):
        table, target_s = terms[item.group]
        due_s = min(item.deadline_s, item.arrived_s + target_s)
        if start_s + table.mid_s(item.size) > due_s or start_s >= due_s:
            late.append(place)
        elif mine is None or mine is table:
            mine = table
            places.append(place)
            dues.append(due_s)
            upto.append(upto[-1] + item.size)
    in_order = all(map(le, dues, islice(dues, 1, None)))
    return _Lane(mine, places, dues, upto, in_order=in_order) if mine else None, late


def _sift_alike(
    table: LatencyTable, dues_s: Sequence[float], start_s: float
) -> tuple[_Lane | None, Sequence[int]]:
    """The same for items of one group and size, due in their order, in a fifth of the time: nearly always."""
    count = len(dues_s)
    run_s = table.mid_s(1)
    late = bisect_left(dues_s, start_s + run_s) if run_s else bisect_right(dues_s, start_s)
    if late == count:
        return None, range(count)
    rest = _Lane(table, range(late, count), dues_s[late:], range(count - late + 1), in_order=True)
    return rest, range(late)


def _target_s(table: LatencyTable, policy: BatchPolicy) -> float:
    """The target, if a call alone can meet it: refusing everybody would help nobody."""
    target_s = policy.latency_target_s
    return target_s if target_s is not None and table.mid_s(1) <= target_s else inf


def _late_batch(
    waiting: Sequence[Item], tables: LatencyTables, policy: BatchPolicy, now_s: float
) -> Decision:
    """All are late by the table. They are served: it helps nobody to refuse them, and the table may be wrong.

    Half of the target is left to who comes meanwhile.
    """
    alive = [place for place, item in enumerate(waiting) if item.deadline_s > now_s]
    gone = [place for place, item in enumerate(waiting) if item.deadline_s <= now_s]
    if not alive:
        return Decision(drop=gone, reason=Reason.EMPTY)
    group = waiting[alive[0]].group
    table = tables.of(group)
    places = [place for place in alive if waiting[place].group == group]
    upto = [0, *accumulate(waiting[place].size for place in places)]
    run_s = min(policy.run_s_max, (policy.latency_target_s or inf) / 2)
    rows = _best_rows(table, min(policy.max_batch, upto[-1]), run_s)
    return Decision(take=places[: _first(upto, rows)], drop=gone, reason=Reason.LATE)


def _first(upto: Sequence[int], rows: int) -> int:
    """How many of the oldest make up so many rows; one at least."""
    return max(1, bisect_right(upto, rows) - 1)


def _wait_s(lane: _Lane | None, rest_s: float, tell_s: float, now_s: float) -> float | None:
    """Until a worker may be sent more, or the first of them can no longer be in time, even alone."""
    left_s = rest_s
    if lane is not None:
        left_s = min(left_s, min(lane.dues_s) - lane.table.mid_s(1) - tell_s - now_s)
    return max(WAIT_S_MIN, left_s) if left_s < inf else None


def _batch(lane: _Lane, policy: BatchPolicy) -> tuple[Sequence[int], Reason]:
    """Indices into the lane."""
    waiting_rows = lane.upto[-1]
    limit = min(policy.max_batch, waiting_rows)
    wanted = _best_rows(lane.table, limit, policy.run_s_max)
    count = _first(lane.upto, wanted)
    due_s = lane.dues_s[0] if lane.in_order else min(lane.dues_s[:count])
    slack_s = due_s - lane.start_s
    rows = wanted
    if lane.table.tail_s(wanted) > slack_s:
        rows = _best_rows(lane.table, limit, slack_s)
        count = _first(lane.upto, rows)
    if rows >= wanted:
        reason = Reason.BEST if rows < limit else Reason.ALL if rows == waiting_rows else Reason.FULL
        return range(count), reason
    if others := _without_the_oldest(lane, rows, wanted):
        in_time = _in_time(lane, others, wanted)
        if in_time > _in_time(lane, range(count), wanted):
            return _in_comfort(lane, policy, others, in_time, wanted), Reason.EARLY_DROP
    return range(count), Reason.TARGET


def _without_the_oldest(lane: _Lane, rows: int, wanted: int) -> Sequence[int]:
    """The batch between `rows` and `wanted` that gets most done, of those who have time for it."""
    table = lane.table
    best: Sequence[int] = ()
    best_rate = rows / table.mid_s(rows) * GAIN_MIN
    for size in (wanted, *reversed(KNOTS[bisect_right(KNOTS, rows) : bisect_left(KNOTS, wanted)])):
        able = lane.packed(lane.able(0, lane.start_s + table.tail_s(size)), size)
        able_rows = lane.rows(able)
        if able_rows <= rows:
            continue
        rate = able_rows / table.mid_s(able_rows)
        if rate > best_rate:
            best, best_rate = able, rate
            if able_rows == size:  # `wanted` is best, and what is nearest to it next
                break
    return best


def _in_comfort(
    lane: _Lane, policy: BatchPolicy, batch: Sequence[int], in_time: int, wanted: int
) -> Sequence[int]:
    """As large a batch of those who have more time, where as many are answered in time: plans may fail."""
    rows, target_s = lane.rows(batch), policy.latency_target_s or 0.0
    for share in COMFORT:
        finish_s = lane.start_s + lane.table.tail_s(rows) + share * target_s
        others = lane.packed(lane.able(0, finish_s), rows)
        if lane.rows(others) == rows and _in_time(lane, others, wanted) >= in_time:
            return others
    return batch


def _in_time(lane: _Lane, batch: Sequence[int], wanted: int) -> int:
    """How many rows are answered in time by this batch and the next, of those who wait now."""
    table, rows = lane.table, lane.rows(batch)
    since = batch[-1] + 1
    next_s = min(lane.next_s, lane.start_s + table.mid_s(rows))
    size = min(lane.upto[-1] - lane.upto[since], wanted)
    if not size:
        return rows
    return rows + min(size, lane.rows(lane.able(since, next_s + table.tail_s(size))))


def _best_rows(table: LatencyTable, limit: int, slack_s: float) -> int:
    """The number of rows, at most `limit`, that gets most done in a second and ends within `slack_s`; or 1.

    One step goes to the double of what is known, at most, and only where so many wait anyway. So it is with
    sizes that have not paid: now and then one is tried again, in case the model or the machine has changed.
    """
    sizes, mids, tails, seen = table.known()
    if not sizes:
        return 1
    limit = min(limit, 2 * sizes[-1])
    best, best_rate, fitting = 1, 1 / mids[0], len(sizes)
    hoped, hoped_rate = best, best_rate
    for place, size in enumerate(sizes):
        if size > limit or tails[place] > slack_s:
            fitting = place
            break
        rate = size / mids[place]
        if rate > best_rate * GAIN_MIN:
            best, best_rate = size, rate
        if seen[place] < TRIES and rate * HOPE > hoped_rate:
            hoped, hoped_rate = size, rate * HOPE
    most = min(limit, _most_rows(table, fitting, slack_s))
    # Beyond a best that is the last of those that fit, the gain need not show: a few more rows gain little.
    gain_min = 1.0 if fitting and best == sizes[fitting - 1] else GAIN_MIN
    if most > best and most / table.mid_s(most) > best_rate * gain_min:
        return most
    again = best << 1 + table.batches // STALE_BATCHES % 3
    if again <= limit and table.stale(again) and table.tail_s(again) <= slack_s:
        return again
    return hoped if hoped > best and hoped_rate > best_rate * GAIN_MIN else best


def _most_rows(table: LatencyTable, fitting: int, slack_s: float) -> int:
    """The largest number of rows that ends within `slack_s`, where the first `fitting` known sizes do."""
    sizes, _, tails, _ = table.known()
    if not fitting:
        return 1
    low, low_s = sizes[fitting - 1], tails[fitting - 1]
    if slack_s == inf:
        return 2 * sizes[-1]
    if fitting == len(sizes):
        return int(low * slack_s / low_s)
    room, rise_s = sizes[fitting] - low, tails[fitting] - low_s
    return low + int(room * min(1.0, (slack_s - low_s) / rise_s)) if rise_s else low + room
