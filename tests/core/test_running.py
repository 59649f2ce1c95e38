"""Which runs start now, and which make place."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.running import Going, Job, Picks, Room, Waiting, memory_needed, pick, rank

FIT, TUNE = ("default", "fit"), ("default", "tune")
MOST = {FIT: 2, TUNE: 4}
ROOM = Room(places=3, memory_bytes=100)


def waits(run: str, job: Job = FIT, *, priority: int = 0, memory_bytes: int = 10) -> Waiting:
    return Waiting(run=run, job=job, order=int(run[1:]), priority=priority, memory_bytes=memory_bytes)


def goes(run: str, job: Job = FIT, *, priority: int = 0, memory_bytes: int = 10, leaves: str = "") -> Going:
    return Going(
        run=run, job=job, order=int(run[1:]), priority=priority, memory_bytes=memory_bytes,
        is_leaving=bool(leaves),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("waiting", "going", "picks"),
    [
        pytest.param([], [goes("r1")], Picks(), id="nobody waits"),
        pytest.param([waits("r1"), waits("r2")], [], Picks(("r1", "r2")), id="there is room"),
        pytest.param(
            [waits("r1"), waits("r2"), waits("r3"), waits("r4", TUNE)], [], Picks(("r1", "r2", "r4")),
            id="a job has as many as it may, another has not",
        ),
        pytest.param([waits("r9", priority=1), waits("r1")], [goes("r5")], Picks(("r9",)), id="by priority"),
        pytest.param(
            [waits("r4", TUNE)], [goes("r1"), goes("r2"), goes("r3", TUNE)], Picks(), id="no place"
        ),
        pytest.param(
            [waits("r4", TUNE, priority=1)], [goes("r1"), goes("r2"), goes("r3", TUNE)], Picks((), ("r3",)),
            id="the youngest of the lesser makes place",
        ),
        pytest.param(
            [waits("r4", TUNE, priority=1)], [goes("r1"), goes("r2"), goes("r3", TUNE, leaves="yes")],
            Picks(), id="somebody is leaving already",
        ),
        pytest.param(
            [waits("r4", TUNE, priority=1)], [goes("r1"), goes("r2"), goes("r3", TUNE, priority=1)],
            Picks((), ("r2",)), id="equals stay",
        ),
        pytest.param(
            [waits("r3", priority=1)], [goes("r1"), goes("r2")], Picks((), ("r2",)),
            id="one of the same job makes place",
        ),
        pytest.param(
            [waits("r3", priority=1)], [goes("r1"), goes("r2", priority=1)], Picks((), ("r1",)),
            id="the lesser one of the same job",
        ),
        pytest.param(
            [waits("r3", memory_bytes=90), waits("r4", TUNE)], [goes("r1", memory_bytes=20)], Picks(),
            id="a large one is not overtaken for ever",
        ),
        pytest.param([waits("r3", memory_bytes=900)], [], Picks(("r3",)), id="too large for the node: alone"),
        pytest.param(
            [waits("r3", TUNE, priority=2, memory_bytes=900)],
            [goes("r1"), goes("r2", priority=1)], Picks((), ("r1", "r2")), id="all make place for it",
        ),
        pytest.param(
            [waits("r9", priority=1)],
            [goes("r1"), goes("r2", priority=1), goes("r3", TUNE), goes("r4", TUNE, priority=-1)],
            Picks((), ("r1", "r4")), id="more have places than there are: one of its job, then the least",
        ),
        pytest.param(
            [waits("r3", TUNE, priority=2, memory_bytes=95)],
            [goes("r1"), goes("r2", priority=2)], Picks(), id="nobody makes place in vain",
        ),
    ],
)  # fmt: skip
def test_what_to_do_now(waiting: list[Waiting], going: list[Going], picks: Picks) -> None:
    assert pick(waiting, going, MOST, ROOM) == picks


@pytest.mark.parametrize(
    ("limit", "seen", "needed"),
    [
        pytest.param(8000, 0, 33, id="never seen: what a place has on average"),
        pytest.param(16, 0, 16, id="never seen, and small"),
        pytest.param(8000, 50, 60, id="seen"),
        pytest.param(55, 50, 55, id="seen close to its limit"),
    ],
)
def test_how_much_memory_is_kept_free(limit: int, seen: int, needed: int) -> None:
    assert memory_needed(limit, seen, ROOM) == needed


jobs = st.sampled_from([FIT, TUNE, ("default", "unknown")])
orders = st.integers(0, 10**6)


@st.composite
def nodes(draw: st.DrawFn) -> tuple[list[Waiting], list[Going], Room]:
    numbers = draw(st.lists(orders, unique=True, max_size=20))
    fields = {"job": jobs, "priority": st.integers(-2, 2), "memory_bytes": st.integers(0, 200)}
    waiting, going = [], []
    for number in numbers:
        known = {name: draw(values) for name, values in fields.items()}
        if draw(st.booleans()):
            waiting.append(Waiting(run=f"r{number}", order=number, **known))  # type: ignore[arg-type]  # by name
        else:
            leaves = draw(st.booleans())
            going.append(Going(run=f"r{number}", order=number, is_leaving=leaves, **known))  # type: ignore[arg-type]  # by name
    room = Room(draw(st.integers(1, 8)), draw(st.integers(1, 500)))
    return sorted(waiting, key=rank), going, room


@given(nodes())
def test_the_bounds_hold_and_only_the_lesser_make_place(
    node: tuple[list[Waiting], list[Going], Room],
) -> None:
    waiting, going, room = node
    picks = pick(waiting, going, MOST, room)
    by_run = {run.run: run for run in waiting}
    started = [by_run[run] for run in picks.start]
    assert len(going) + len(started) <= max(room.places, len(going))
    of_job = Counter(one.job for one in going)
    after = of_job + Counter(run.job for run in started)
    assert all(count <= max(MOST.get(job, 1), of_job[job]) for job, count in after.items())
    used_bytes = sum(one.memory_bytes for one in [*going, *started])
    assert used_bytes <= room.memory_bytes or len(going) + len(started) <= 1 or not started
    asked = [one for one in going if one.run in picks.ask]
    assert len(asked) == len(picks.ask)
    assert not any(one.is_leaving for one in asked)
    if asked:
        best = max(run.priority for run in waiting if run.run not in picks.start)
        assert all(one.priority < best for one in asked)


@given(nodes())
def test_an_idle_node_starts_somebody(node: tuple[list[Waiting], list[Going], Room]) -> None:
    waiting, _, room = node
    picks = pick(waiting, [], MOST, room)
    assert bool(picks.start) == bool(waiting)
    assert list(picks.start[:1]) == [run.run for run in waiting[:1]]
    assert picks.ask == ()


@given(nodes())
def test_once_all_who_were_asked_have_left_somebody_starts(
    node: tuple[list[Waiting], list[Going], Room],
) -> None:
    waiting, going, room = node
    picks = pick(waiting, going, MOST, room)
    if picks.ask:
        left = [one for one in going if one.run not in picks.ask and not one.is_leaving]
        assert pick(waiting, left, MOST, room).start


def test_who_waits_for_runs_that_it_has_started_gives_its_place_to_them_and_to_nobody_else() -> None:
    parents = [msgspec.structs.replace(goes(f"r{n}", TUNE), is_resting=True) for n in range(ROOM.places)]
    child = msgspec.structs.replace(waits("r9", TUNE), depth=1)
    assert pick([child, waits("r8", TUNE)], parents, MOST, ROOM) == Picks(("r9",))
    assert pick([waits("r7", TUNE, priority=1), child], parents, MOST, ROOM) == Picks(("r9",), ("r2",))


def test_runs_that_wait_for_their_own_kind_are_not_counted_against_it() -> None:
    parents = [msgspec.structs.replace(goes(f"r{n}"), is_resting=True, depth=1) for n in range(MOST[FIT])]
    grandchild = msgspec.structs.replace(waits("r9"), depth=2)
    sibling = msgspec.structs.replace(waits("r8"), depth=1)
    assert pick([grandchild, sibling], parents, MOST, ROOM) == Picks(("r9",))
