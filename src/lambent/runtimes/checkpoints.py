"""A run's checkpoints, as its worker makes them: when, where to, and what happens when the slice must end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, Final, Protocol, TypeGuard

from lambent.clock import Clock
from lambent.core.checkpointing import COMMIT_EVERY_S_MIN, commit_interval_s
from lambent.runtimes import randomness
from lambent.runtimes.outputs import say
from lambent.runtimes.slots import Slots, make_arena
from lambent.wire.arena import HEAD


class Yielded(BaseException):
    """The state is committed and the slice ends here: another worker goes on. Code of a job lets it pass."""


class Beside(Protocol):
    """What stands beside a state and goes on with it."""

    def standing(self) -> dict[str, int]:
        """Where it is."""

    def go_on(self, standing: dict[str, int]) -> None:
        """It was there."""


class Checkpoints:
    """Commits states of one run and restores them.

    What `random`, numpy, torch, Keras and TensorFlow draw from is committed with each state and restored with
    it, as far as they are imported.
    """

    def __init__(
        self, folder: Path, clock: Clock, *, slice_s: float = 0.0, beside: Beside | None = None
    ) -> None:
        """Where the arena is, made where there is none. The slice is to end after `slice_s`; 0: never.

        What `beside` says is committed with each state, and told to it when that is restored.
        """
        self._folder: Final = folder
        self._clock: Final = clock
        self._beside: Final = beside
        self._ends_s: Final = clock.now_s() + slice_s if slice_s else None
        self._pid: Final = os.getpid()
        self._turn: Final = threading.RLock()
        self._slots: Slots | None = None
        self._step: int | None = None
        self.since: int | None = None  # the step of what was committed or restored last, here
        self._is_asked = False
        self._is_warned = False
        self._committed_s = clock.now_s()
        self._interval_s = COMMIT_EVERY_S_MIN

    @property
    def step(self) -> int:
        """The step of the newest commit, 0 where there is none."""
        if self._step is None:
            newest = next(iter(self._arena().commits()), None)
            self._step = newest.step if newest else 0
        return self._step

    @property
    def ending(self) -> bool:
        """Whether the next commit is the slice's last: its time is over, or somebody asked for its end."""
        is_over = self._ends_s is not None and self._clock.now_s() >= self._ends_s
        return self._is_asked or is_over or self._arena().is_asked()

    def ask(self) -> None:
        """Let the slice end. May be called by a handler of a signal."""
        self._is_asked = True

    def is_due(self, every_s: float | None = None) -> bool:
        """Whether it is time for a commit; the interval is chosen so that commits cost about 1 % of it."""
        interval_s = self._interval_s if every_s is None else every_s
        return self._clock.now_s() - self._committed_s >= interval_s or self.ending

    def commit(self, state: object, step: int | None) -> bool:
        """Make it the newest state; a callable is asked for it. False where there is no room.

        Raises `Yielded` where the slice was to end, and what pickling raises.
        """
        self._check_process()
        with self._turn:
            return self._commit(state, self.step + 1 if step is None else int(step))

    def restore(self) -> Any:
        """The newest state that can be read, None where there is none. Raises what reading it raises."""
        self._check_process()
        failure: Exception | None = None
        for commit in self._arena().commits():
            try:
                kept = self._arena().read(commit)
                state, drawn = kept["state"], kept["random"]
            except Exception as error:  # noqa: BLE001 - classes of user code are made, which may raise anything
                failure = failure or error
                error.add_note(f"while the state of step {commit.step} was restored")
                say(f"The state of step {commit.step} cannot be restored: {type(error).__name__}: {error}\n")
                continue
            self._forget_newer(commit.seq)
            randomness.put_back(drawn)
            if self._beside is not None:
                self._beside.go_on(kept.get("beside", {}))
            self._step = self.since = commit.step
            return state
        if failure is not None:
            raise failure
        return None

    def _commit(self, state: object, step: int) -> bool:
        started_s = self._clock.now_s()
        kept = {"state": state() if _is_recipe(state) else state, "random": randomness.captured()}
        if self._beside is not None:
            kept["beside"] = self._beside.standing()
        try:
            self._arena().commit(kept, step=step, unix_ms=self._clock.unix_ms())
        except OSError as error:
            if not self._is_warned:
                say(f"There is no room for the state of step {step}, and the run goes on: {error}\n")
            self._is_warned = True
            self._committed_s = self._clock.now_s()
            return False
        except Exception as error:
            error.add_note(f"while the state of step {step} was committed")
            raise
        self._is_warned = False
        self._step = self.since = step
        self._committed_s = self._clock.now_s()
        self._interval_s = commit_interval_s(self._committed_s - started_s)
        if self.ending:
            raise Yielded
        return True

    def _forget_newer(self, seq: int) -> None:
        for commit in self._arena().commits():
            if commit.seq > seq:
                self._arena().discard(commit)

    def _arena(self) -> Slots:
        if self._slots is None:
            if not (self._folder / HEAD).exists():
                make_arena(self._folder)
            self._slots = Slots(self._folder)
        return self._slots

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("only the process that the job was called in can commit and restore states")


def _is_recipe(state: object) -> TypeGuard[Callable[[], object]]:
    """Whether it is a function that makes the state, and not a model, which may be callable as well."""
    return isinstance(state, FunctionType | MethodType | partial)
