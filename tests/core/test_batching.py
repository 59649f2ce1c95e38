"""What goes out as one batch: tables of single decisions, and laws over random queues."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambent.core.batching import WAIT_S_MIN, Aside, BatchPolicy, Decision, Item, Reason, due
from lambent.core.latency import LatencyTables

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
NOW_S = 100.0


def learnt(
    fixed_s: float, row_s: float, *, groups: str = "a", sizes: tuple[int, ...] = SIZES
) -> LatencyTables:
    tables = LatencyTables()
    for group in groups:
        for size in sizes * 12:
            tables.of(group).observe(size, fixed_s + row_s * size)
    return tables


def queue(*ages_s: float, deadline_s: float = float("inf"), size: int = 1, group: str = "a") -> list[Item]:
    return [Item(arrived_s=NOW_S - age_s, deadline_s=deadline_s, size=size, group=group) for age_s in ages_s]


def ask(
    waiting: list[Item],
    tables: LatencyTables,
    *,
    max_batch: int = 64,
    target_s: float | None = 0.040,
    idle_workers: int = 1,
    busy_until_s: tuple[float, ...] = (),
    hop_s: float = 0.0,
    tell_s: float = 0.0,
) -> Decision:
    policy = BatchPolicy(max_batch=max_batch, latency_target_s=target_s)
    return due(
        waiting, tables, policy,
        idle_workers=idle_workers, busy_until_s=busy_until_s, now_s=NOW_S,
        aside=Aside(hop_s=hop_s, tell_s=tell_s),
    )  # fmt: skip


WEIGHT_BOUND = learnt(0.004, 0.00005)
ROW_BOUND = learnt(0.0, 0.002)
BETWEEN = learnt(0.003, 0.0009)


@pytest.mark.parametrize(
    ("waiting", "tables", "max_batch", "taken", "reason"),
    [
        pytest.param(queue(0.0), WEIGHT_BOUND, 64, 1, "all", id="one alone goes at once"),
        pytest.param(queue(*[0.001] * 20), WEIGHT_BOUND, 64, 20, "all", id="what waits goes together"),
        pytest.param(queue(*[0.001] * 90), WEIGHT_BOUND, 64, 64, "full", id="no more than max_batch"),
        pytest.param(queue(*[0.001] * 9), WEIGHT_BOUND, 1, 1, "full", id="a maximum of one is no batching"),
        pytest.param(queue(*[0.001] * 9), ROW_BOUND, 64, 1, "best", id="off where it does not pay"),
        pytest.param(queue(*[0.001] * 9), LatencyTables(), 64, 1, "best", id="nothing known: one, to learn"),
        pytest.param(
            queue(0.001, size=100), WEIGHT_BOUND, 64, 1, "full", id="too large for any batch: alone"
        ),
    ],
)
def test_a_decision(
    waiting: list[Item], tables: LatencyTables, max_batch: int, taken: int, reason: str
) -> None:
    decision = ask(waiting, tables, max_batch=max_batch)
    assert (list(decision.take), list(decision.drop), decision.reason) == ([*range(taken)], [], reason)


def test_as_many_go_as_the_oldest_has_time_for() -> None:
    decision = ask(queue(0.020, *[0.001] * 29), BETWEEN)
    table, rows = BETWEEN.of("a"), len(decision.take)
    assert (decision.reason, list(decision.drop), decision.take[0]) == (Reason.TARGET, [], 0)
    assert table.tail_s(rows) <= 0.020 < table.tail_s(rows + 1)


def test_without_a_target_everything_that_waits_goes_and_nobody_is_refused() -> None:
    decision = ask(queue(*[50.0] * 40), WEIGHT_BOUND, target_s=None)
    assert (len(decision.take), list(decision.drop), decision.reason) == (40, [], Reason.ALL)


def test_who_cannot_make_it_even_alone_is_refused_at_once() -> None:
    decision = ask(queue(0.039, 0.038, 0.001), WEIGHT_BOUND)
    assert (list(decision.drop), list(decision.take)) == ([0, 1], [2])


def test_the_oldest_are_refused_where_they_would_keep_the_batches_small() -> None:
    waiting = queue(*[0.0355] * 10, *[0.030] * 150)
    decision = ask(waiting, WEIGHT_BOUND)
    assert decision.reason is Reason.EARLY_DROP
    assert list(decision.drop) == [*range(10)]
    assert list(decision.take) == [*range(10, 74)]


def test_the_oldest_are_served_where_the_rest_can_wait_for_them() -> None:
    decision = ask(queue(*[0.0355] * 10, *[0.001] * 50), WEIGHT_BOUND)
    assert (decision.reason, list(decision.drop), decision.take[0]) == (Reason.TARGET, [], 0)


def test_others_do_not_suffer_from_one_who_is_in_a_hurry() -> None:
    waiting = queue(*[0.001] * 10) + queue(0.0, deadline_s=NOW_S + 0.00425) + queue(*[0.0] * 60)
    decision = ask(waiting, WEIGHT_BOUND, target_s=0.012)
    assert len(decision.take) == 64
    assert set(decision.drop) <= {10}


def test_while_all_workers_are_busy_only_who_cannot_wait_for_them_is_refused() -> None:
    waiting = queue(0.038, 0.030, 0.001)
    decision = ask(waiting, WEIGHT_BOUND, idle_workers=0, busy_until_s=(NOW_S + 0.002, NOW_S + 0.009))
    assert (decision.reason, list(decision.drop), list(decision.take)) == (Reason.BUSY, [0], [])
    assert decision.wait_s == pytest.approx(0.010 - 0.00405, abs=0.0003)


@pytest.mark.parametrize(
    ("until_s", "hop_s", "taken", "wait_s"),
    [
        pytest.param(0.0015, 0.002, 3, None, id="its next batch is on its way before it is free"),
        pytest.param(0.005, 0.002, 0, 0.003, id="not sooner than the way takes"),
        pytest.param(-0.001, 0.002, 3, None, id="it runs for longer than expected"),
        pytest.param(0.0015, 0.0, 0, None, id="where no time passes on the way nothing is gained"),
    ],
)
def test_a_busy_worker_is_sent_its_next_batch_when_the_way_there_takes_as_long_as_its_run(
    until_s: float, hop_s: float, taken: int, wait_s: float | None
) -> None:
    waiting = queue(0.003, 0.002, 0.001)
    busy = (NOW_S + until_s, NOW_S + 0.008)
    decision = ask(waiting, WEIGHT_BOUND, target_s=None, idle_workers=0, busy_until_s=busy, hop_s=hop_s)
    assert list(decision.take) == [*range(taken)]
    assert decision.wait_s == pytest.approx(wait_s, abs=1e-9)


def test_what_passes_beside_a_run_is_time_that_the_oldest_does_not_have() -> None:
    waiting = queue(0.0345, *[0.001] * 9)  # alone it takes 4 ms, and all of them hardly more
    assert not ask(waiting, WEIGHT_BOUND).drop
    for beside in ({"hop_s": 0.002}, {"tell_s": 0.002}):
        decision = ask(waiting, WEIGHT_BOUND, **beside)
        assert (list(decision.drop), list(decision.take)) == ([0], [*range(1, 10)])


def test_a_server_that_is_short_of_time_does_not_take_everybody_for_late() -> None:
    decision = ask(queue(*[0.001] * 10), WEIGHT_BOUND, hop_s=5.0, tell_s=5.0)
    assert (list(decision.drop), len(decision.take)) == ([], 10)


def test_of_many_of_whom_most_are_refused_those_go_who_have_some_time_left() -> None:
    # They came every quarter of a millisecond, four times as many as can be served.
    decision = ask(queue(*[0.040 - 0.00025 * number for number in range(160)]), BETWEEN)
    table, oldest = BETWEEN.of("a"), decision.take[0]
    assert decision.reason is Reason.EARLY_DROP
    left_s = 0.00025 * oldest - table.tail_s(len(decision.take))
    assert left_s >= 0.15 * 0.040
    assert list(decision.drop) == [*range(oldest)]


def test_who_is_asked_in_vain_is_not_asked_again_at_once() -> None:
    waiting = queue(0.040 - 0.0041)
    assert ask(waiting, WEIGHT_BOUND, idle_workers=0).wait_s == WAIT_S_MIN
    assert ask(queue(3.0), WEIGHT_BOUND, target_s=None, idle_workers=0).wait_s is None


def test_who_is_late_by_the_table_is_served_where_nobody_else_waits() -> None:
    # A table whose first run took far too long would else refuse everybody, and never learn better.
    waiting = queue(0.0, 0.0, deadline_s=NOW_S + 1)
    decision = ask(waiting, learnt(10.0, 0.0, sizes=(1,)), target_s=None)
    assert (decision.take[0], list(decision.drop), decision.reason) == (0, [], Reason.LATE)
    decision = ask(queue(0.5, 0.4), WEIGHT_BOUND)
    assert (list(decision.take), list(decision.drop), decision.reason) == ([0, 1], [], Reason.LATE)


def test_nobody_is_refused_for_a_target_while_there_is_no_worker_at_all() -> None:
    decision = ask(queue(0.5, 0.0), WEIGHT_BOUND, idle_workers=0)
    assert (list(decision.take), list(decision.drop), decision.reason) == ([], [], Reason.BUSY)


def test_what_nobody_wants_any_more_is_not_served() -> None:
    decision = ask(queue(5.0, 4.0, deadline_s=NOW_S), LatencyTables())
    assert (list(decision.take), list(decision.drop), decision.reason) == ([], [0, 1], Reason.EMPTY)


def test_a_target_that_no_call_can_meet_refuses_nobody() -> None:
    decision = ask(queue(9.0, 1.0), WEIGHT_BOUND, target_s=0.001)
    assert (list(decision.take), list(decision.drop)) == ([0, 1], [])


def test_a_larger_size_is_tried_by_doubling_and_only_where_so_many_wait() -> None:
    tables = LatencyTables()
    tried = []
    for waiting in [1, 1, 1, 1, 50, 50, 50, 50, 50, 50, 50]:
        rows = len(ask(queue(*[0.0] * waiting), tables).take)
        tried.append(rows)
        tables.of("a").observe(rows, 0.004 + 0.00005 * rows)
    assert tried == [1, 1, 1, 1, 2, 4, 8, 16, 32, 50, 50]


def test_what_was_not_tried_is_not_tried_at_the_cost_of_a_deadline() -> None:
    tables = learnt(0.004, 0.0, sizes=(1,))
    assert len(ask(queue(*[0.033] * 9), tables).take) == 1
    assert len(ask(queue(*[0.025] * 9), tables).take) == 2


def test_batching_comes_back_when_it_pays_again() -> None:
    tables = learnt(-0.0002, 0.0022)
    sizes = []
    for _ in range(3000):
        rows = len(ask(queue(*[0.0] * 16), tables, target_s=None).take)
        sizes.append(rows)
        tables.of("a").observe(rows, 0.0019 + 0.0001 * rows)
    assert sizes[:50] == [1] * 50
    assert sizes[-1] == 16


def test_it_is_hardly_ever_tried_where_it_does_not_pay() -> None:
    tables = learnt(0.0, 0.002)
    rows_together = 0
    for _ in range(2000):
        rows = len(ask(queue(*[0.0] * 16), tables, target_s=None).take)
        rows_together += rows if rows > 1 else 0
        tables.of("a").observe(rows, 0.002 * rows * (1.0 if rows == 1 else 1.1))
    assert rows_together <= 0.05 * 2000


@pytest.mark.parametrize(
    "make",
    [
        lambda: BatchPolicy(max_batch=0),
        lambda: BatchPolicy(max_batch=1, latency_target_s=0.0),
        lambda: Item(arrived_s=0.0, size=0),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=r"rows|batches"):
        make()


# Ticks of a millisecond: whole ones meet, random ones never would.
ticks = st.integers(0, 60).map(lambda tick: tick / 1000)
items = st.builds(
    lambda age_s, left_s, size, group: Item(
        arrived_s=NOW_S - age_s, deadline_s=NOW_S + left_s, size=size, group=group
    ),
    ticks, st.one_of(ticks, st.just(float("inf"))), st.integers(1, 9), st.sampled_from("ab"),
)  # fmt: skip
queues = st.lists(items, max_size=20).map(lambda found: sorted(found, key=lambda item: item.arrived_s))
runs = st.lists(st.tuples(st.integers(1, 70), ticks.map(lambda tick_s: tick_s + 0.001)), max_size=30)
policies = st.builds(
    lambda max_batch, target_s: BatchPolicy(max_batch=max_batch, latency_target_s=target_s),
    st.integers(1, 40), st.one_of(st.none(), ticks.map(lambda tick_s: tick_s + 0.001)),
)  # fmt: skip


def tables_of(seen: list[tuple[int, float]]) -> LatencyTables:
    tables = LatencyTables()
    for number, (rows, run_s) in enumerate(seen):
        tables.of("ab"[number % 2]).observe(rows, run_s)
    return tables


@given(queues, runs, policies, st.integers(0, 2), st.lists(ticks, max_size=2))
@settings(max_examples=100)
def test_the_laws_of_a_decision(
    waiting: list[Item], seen: list[tuple[int, float]], policy: BatchPolicy, idle: int, busy_s: list[float]
) -> None:
    tables = tables_of(seen)
    busy_until_s = [NOW_S + left_s for left_s in busy_s]
    decision = due(waiting, tables, policy, idle_workers=idle, busy_until_s=busy_until_s, now_s=NOW_S)
    taken = [waiting[place] for place in decision.take]
    left = [place for place in range(len(waiting)) if place not in {*decision.take, *decision.drop}]

    assert sum(item.size for item in taken) <= policy.max_batch or len(taken) == 1
    assert len({item.group for item in taken}) <= 1
    assert list(decision.take) == sorted(decision.take)
    assert list(decision.drop) == sorted(decision.drop)
    assert not {*decision.take} & {*decision.drop}
    assert idle or not taken
    assert all(item.deadline_s > NOW_S for item in taken)
    if taken:  # first come, first served, within a group
        after = [place for place in left if waiting[place].group == taken[0].group]
        assert not after or decision.take[-1] < after[0]
    if idle and any(item.deadline_s > NOW_S for item in waiting):  # never idle while there is work
        assert taken or not any(place in left for place in range(len(waiting)))
    if decision.reason is not Reason.EARLY_DROP:  # refused only who cannot make it, even alone
        start_s = NOW_S if idle else max(NOW_S, min(busy_until_s, default=NOW_S))
        for item in (waiting[place] for place in decision.drop):
            due_s = min(item.deadline_s, item.arrived_s + (policy.latency_target_s or float("inf")))
            assert start_s + tables.of(item.group).mid_s(item.size) > due_s or start_s >= due_s
    if decision.wait_s is not None:
        assert decision.wait_s >= WAIT_S_MIN


@given(queues, runs, st.integers(1, 40))
def test_without_deadlines_all_are_served_in_turn(
    waiting: list[Item], seen: list[tuple[int, float]], max_batch: int
) -> None:
    tables, served = tables_of(seen), []
    waiting = [Item(arrived_s=item.arrived_s, size=item.size, group=item.group) for item in waiting]
    left = list(waiting)
    while left:
        oldest = left[0]
        decision = due(left, tables, BatchPolicy(max_batch=max_batch), idle_workers=1, now_s=NOW_S)
        assert left[decision.take[0]] is oldest  # nobody starves: the oldest of all is in the next batch
        assert not decision.drop
        served += [left[place] for place in decision.take]
        left = [item for place, item in enumerate(left) if place not in set(decision.take)]
    for group in "ab":
        assert [item for item in served if item.group == group] == [
            item for item in waiting if item.group == group
        ]
