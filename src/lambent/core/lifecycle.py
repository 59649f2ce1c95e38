"""The life of a worker as a table: what may happen in each state, where it leads, and what must be done then.

    state → event → (next state, instructions)

An event that the table does not list is a bug in us and raises. What two observers may report in either order
is listed on purpose: a death is seen by the call that broke off and by the reaper; an answer, a timeout and a
stop may cross each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class State(StrEnum):
    """Where a worker is in its life. `GONE` is final."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"  # finishes what it runs, then stops
    STOPPING = "stopping"  # told to end; its process still exists
    GONE = "gone"


class Event(StrEnum):
    """What happens to a worker."""

    LOADED = "loaded"  # it said hello
    LEASED = "leased"  # its slot was taken
    RETURNED = "returned"  # the slot came back: the call was answered, or was never made
    RETIRING = "retiring"  # the call was answered, and the worker said that it exits now
    TIMED_OUT = "timed_out"  # the call that runs has used up its time
    STOP_ASKED = "stop_asked"  # finish and go: it is surplus, or its revision was replaced
    KILL_ASKED = "kill_asked"  # go now: whoever called it left in the middle, or nobody can wait any longer
    EXITED = "exited"  # its process is no more, or its start was given up


class Instruction(StrEnum):
    """What the pool has to do, in the order given."""

    OFFER = "offer"  # its slot is free
    WITHDRAW = "withdraw"  # it takes no more calls: no slot of it is free, and it counts as leaving
    STOP = "stop"  # ask it to end, and allow a named grace before `KILL_ASKED`
    KILL = "kill"  # end its process and all that it started
    FAIL_WAKE = "fail_wake"  # who waits for this wake hears that it failed
    REPLACE = "replace"  # a worker that was wanted is lost: decide anew how many there should be, now
    RECORD = "record"  # write down how the process ended and what it used


class Step(NamedTuple):
    """Where an event leads, and what must be done."""

    state: State
    instructions: tuple[Instruction, ...] = ()


class ImpossibleEvent(Exception):
    """An event came in a state that does not list it: the pool and its workers no longer agree."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"a worker that is {state} cannot be {event}")
        self.state = state
        self.event = event


S, E, I = State, Event, Instruction  # noqa: E741  (the table below is read as a table)

TRANSITIONS: Final[Mapping[State, Mapping[Event, Step]]] = {
    S.STARTING: {
        E.LOADED: Step(S.IDLE, (I.OFFER,)),
        E.STOP_ASKED: Step(
            S.STOPPING, (I.WITHDRAW, I.KILL)
        ),  # it does not listen yet, and has nothing to finish
        E.KILL_ASKED: Step(S.STOPPING, (I.WITHDRAW, I.KILL)),
        E.EXITED: Step(S.GONE, (I.WITHDRAW, I.RECORD, I.FAIL_WAKE)),
    },
    S.IDLE: {
        E.LEASED: Step(S.BUSY),
        E.STOP_ASKED: Step(S.STOPPING, (I.WITHDRAW, I.STOP)),
        E.KILL_ASKED: Step(S.STOPPING, (I.WITHDRAW, I.KILL)),
        E.EXITED: Step(S.GONE, (I.WITHDRAW, I.RECORD, I.REPLACE)),
    },
    S.BUSY: {
        E.RETURNED: Step(S.IDLE, (I.OFFER,)),
        E.RETIRING: Step(S.STOPPING, (I.WITHDRAW, I.STOP, I.REPLACE)),
        E.TIMED_OUT: Step(S.STOPPING, (I.WITHDRAW, I.KILL, I.REPLACE)),
        E.STOP_ASKED: Step(S.DRAINING, (I.WITHDRAW,)),
        E.KILL_ASKED: Step(S.STOPPING, (I.WITHDRAW, I.KILL, I.REPLACE)),
        E.EXITED: Step(S.GONE, (I.WITHDRAW, I.RECORD, I.REPLACE)),
    },
    S.DRAINING: {
        E.RETURNED: Step(S.STOPPING, (I.STOP,)),
        E.RETIRING: Step(S.STOPPING, (I.STOP,)),
        E.TIMED_OUT: Step(S.STOPPING, (I.KILL,)),
        E.STOP_ASKED: Step(S.DRAINING),
        E.KILL_ASKED: Step(S.STOPPING, (I.KILL,)),
        E.EXITED: Step(S.GONE, (I.RECORD,)),
    },
    S.STOPPING: {
        E.LOADED: Step(S.STOPPING, (I.KILL,)),  # stopped while it was starting
        E.RETURNED: Step(S.STOPPING),
        E.RETIRING: Step(S.STOPPING),
        E.TIMED_OUT: Step(S.STOPPING, (I.KILL,)),
        E.STOP_ASKED: Step(S.STOPPING),
        E.KILL_ASKED: Step(S.STOPPING, (I.KILL,)),
        E.EXITED: Step(S.GONE, (I.RECORD,)),
    },
    S.GONE: {
        E.RETURNED: Step(S.GONE),
        E.RETIRING: Step(S.GONE),
        E.TIMED_OUT: Step(S.GONE),
        E.STOP_ASKED: Step(S.GONE),
        E.KILL_ASKED: Step(S.GONE),
        E.EXITED: Step(S.GONE),
    },
}


def step(state: State, event: Event) -> Step:
    """The next state and what must be done. Raises `ImpossibleEvent`."""
    found = TRANSITIONS[state].get(event)
    if found is None:
        raise ImpossibleEvent(state, event)
    return found


def diagram() -> str:
    """The table as a Mermaid state diagram, without the events that change and ask for nothing."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.STARTING}"]
    for state, events in TRANSITIONS.items():
        for event, (target, instructions) in events.items():
            if target is state and not instructions:
                continue
            done = f" / {', '.join(instructions)}" if instructions else ""
            lines.append(f"    {state} --> {target}: {event}{done}")
    lines.append(f"    {State.GONE} --> [*]")
    return "\n".join(lines) + "\n"
