"""A worker's life: the table says all of it, and its laws hold for every order of events."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.lifecycle import TRANSITIONS, Event, ImpossibleEvent, Instruction, State, diagram, step

RECORD = Path(__file__).parents[2] / "docs/decisions/0003-what-may-cross-in-a-workers-life.md"


def life(*events: Event) -> tuple[State, list[Instruction]]:
    """The state after `events`, and every instruction on the way."""
    state, asked = State.STARTING, list[Instruction]()
    for event in events:
        state, instructions = step(state, event)
        asked += instructions
    return state, asked


E = Event


@pytest.mark.parametrize(
    ("events", "ends", "instructions"),
    [
        pytest.param([E.LOADED], "idle", "offer", id="loaded"),
        pytest.param([E.LOADED, E.LEASED], "busy", "offer", id="leased"),
        pytest.param(
            [E.LOADED, E.LEASED, E.RETURNED], "idle", "offer offer", id="offered again after a lease"
        ),
        pytest.param(
            [E.EXITED], "gone", "withdraw record fail_wake", id="an exit while starting fails the wake"
        ),
        pytest.param([E.STOP_ASKED], "stopping", "withdraw kill", id="stopped while starting"),
        pytest.param([E.STOP_ASKED, E.LOADED], "stopping", "withdraw kill kill", id="loaded after all"),
        pytest.param([E.LOADED, E.STOP_ASKED], "stopping", "offer withdraw stop", id="an idle one stops"),
        pytest.param(
            [E.LOADED, E.STOP_ASKED, E.EXITED], "gone", "offer withdraw stop record", id="an asked-for end"
        ),
        pytest.param([E.LOADED, E.EXITED], "gone", "offer withdraw record replace", id="an idle one dies"),
        pytest.param(
            [E.LOADED, E.LEASED, E.EXITED, E.EXITED, E.RETURNED],
            "gone",
            "offer withdraw record replace",
            id="a busy one dies: its call breaks off, the reaper says so too",
        ),
        pytest.param(
            [E.LOADED, E.LEASED, E.TIMED_OUT, E.RETURNED, E.EXITED],
            "gone",
            "offer withdraw kill replace record",
            id="a timeout kills and replaces",
        ),
        pytest.param(
            [E.LOADED, E.LEASED, E.RETIRING, E.EXITED],
            "gone",
            "offer withdraw stop replace record",
            id="a retiring one is replaced before it is gone",
        ),
        pytest.param(
            [E.LOADED, E.LEASED, E.STOP_ASKED, E.TIMED_OUT],
            "stopping",
            "offer withdraw kill",
            id="a draining one that hangs is killed and not replaced",
        ),
    ],
)
def test_a_life(events: Sequence[Event], ends: str, instructions: str) -> None:
    assert life(*events) == (ends, instructions.split())


def test_a_busy_worker_finishes_its_invocation_before_it_stops() -> None:
    draining = life(E.LOADED, E.LEASED, E.STOP_ASKED)
    assert draining == (State.DRAINING, [Instruction.OFFER, Instruction.WITHDRAW])
    assert step(draining[0], E.RETURNED) == (State.STOPPING, (Instruction.STOP,))


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (State.STARTING, E.LEASED),
        (State.STARTING, E.RETURNED),
        (State.IDLE, E.LOADED),
        (State.IDLE, E.RETURNED),
        (State.IDLE, E.TIMED_OUT),
        (State.IDLE, E.RETIRING),
        (State.BUSY, E.LEASED),
        (State.BUSY, E.LOADED),
        (State.DRAINING, E.LEASED),
        (State.STOPPING, E.LEASED),
        (State.GONE, E.LEASED),
        (State.GONE, E.LOADED),
    ],
)
def test_an_event_that_the_table_does_not_list_raises(state: State, event: Event) -> None:
    with pytest.raises(ImpossibleEvent, match=f"a worker that is {state} cannot be {event}"):
        step(state, event)


def test_the_table_lists_every_state_and_reaches_each() -> None:
    assert set(TRANSITIONS) == set(State)
    reached = {State.STARTING} | {to.state for events in TRANSITIONS.values() for to in events.values()}
    assert reached == set(State)


def test_wherever_a_worker_is_its_exit_ends_its_life() -> None:
    assert {step(state, E.EXITED).state for state in State} == {State.GONE}


def test_whoever_is_gone_asks_for_nothing_and_stays_gone() -> None:
    for to in TRANSITIONS[State.GONE].values():
        assert to == (State.GONE, ())


def test_a_stop_and_a_kill_may_come_at_any_time() -> None:
    for state in State:
        assert {E.STOP_ASKED, E.KILL_ASKED, E.EXITED} <= set(TRANSITIONS[state])


def test_no_life_leads_back_to_service() -> None:
    leaving = {State.DRAINING, State.STOPPING, State.GONE}
    for state in leaving:
        assert {to.state for to in TRANSITIONS[state].values()} <= leaving


@given(st.data())
def test_laws_of_any_life(data: st.DataObject) -> None:
    state, done = State.STARTING, list[str]()
    for _ in range(data.draw(st.integers(0, 20))):
        event = data.draw(st.sampled_from(sorted(TRANSITIONS[state])))
        before = state
        state, instructions = step(state, event)
        if event is Event.LEASED:
            done.append("leased")
        assert before is not State.GONE or not instructions
        done += instructions
    state, instructions = step(state, Event.EXITED)
    done += instructions
    assert state is State.GONE
    assert done.count(Instruction.WITHDRAW) == 1
    assert done.count(Instruction.RECORD) == 1
    assert done.count(Instruction.REPLACE) + done.count(Instruction.FAIL_WAKE) <= 1
    assert Instruction.OFFER not in done[done.index(Instruction.WITHDRAW) :]
    slots = [each for each in done if each in (Instruction.OFFER, "leased")]
    assert all(first != second for first, second in pairwise(slots))


def test_the_diagram_has_a_line_for_each_change() -> None:
    lines = diagram().splitlines()
    assert lines[:3] == ["stateDiagram-v2", "    [*] --> starting", "    starting --> idle: loaded / offer"]
    assert "    busy --> stopping: timed_out / withdraw, kill, replace" in lines
    assert "    idle --> busy: leased" in lines
    assert lines[-1] == "    gone --> [*]"
    assert not [line for line in lines if line.startswith("    gone --> gone")]


def test_the_diagram_in_the_records_is_the_table_s() -> None:
    assert f"```mermaid\n{diagram()}```\n" in RECORD.read_text()
