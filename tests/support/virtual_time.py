"""Virtual time for tests: hours pass in milliseconds, and the same test always takes the same path.

    def test_a_lease_expires() -> None:
        async def story() -> None:
            await asyncio.sleep(3600)
            assert VirtualClock().now_s() == 3600
        run(story())

`run` executes a coroutine on a loop that never waits: as long as something is ready it runs, and when
nothing is, time jumps to the next timer. There are no threads and no sockets in it, because either would
bring the real clock back; a test that needs them uses an ordinary loop.

With `tick_s` time moves in whole ticks only. Events that would fall a hair apart then fall together, and
races that continuous times hide become visible.

The idea is that of trio's `MockClock(autojump_threshold=0)`; jumping inside the selector is how asyncio
lets a loop be told what time it is without replacing its scheduler.
"""

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

T = TypeVar("T")

SECONDS_MAX: Final = 7 * 24 * 3600.0
ITERATIONS_MAX: Final = 200_000
CLEAN_UP_ITERATIONS_MAX: Final = 1_000
UNIX_MS_AT_START: Final = 1_700_000_000_000
ASYNCIO_DIRECTORY: Final = Path(asyncio.__file__).parent


class VirtualTimeError(AssertionError):
    """The story can not or does not end: nothing is left to happen, or a limit was passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where a story is taken for a hang: virtual seconds, and turns of the event loop."""

    seconds_max: float = SECONDS_MAX
    iterations_max: int = ITERATIONS_MAX


def run(
    story: Coroutine[Any, Any, T],
    *,
    tick_s: float | None = None,
    seconds_max: float = SECONDS_MAX,
    iterations_max: int = ITERATIONS_MAX,
) -> T:
    """Run `story` from virtual second 0 to its end and return its result.

    Raises `VirtualTimeError`, naming each task and the line it waits on, when nothing is left that could
    wake them or when a limit is passed; and an `ExceptionGroup` when a background task failed unseen.
    """
    limits = Limits(seconds_max=seconds_max, iterations_max=iterations_max)
    loop = VirtualLoop(limits, tick_s=tick_s)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(story)
    if failures := loop.unseen_failures():
        raise failures
    return result


class VirtualClock:
    """A `Clock` that shows the time of the virtual loop it is asked in, or of the one it is given."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop
        self._set_by_s = 0.0

    def now_s(self) -> float:
        return (self._loop or asyncio.get_running_loop()).time()

    def unix_ms(self) -> int:
        return UNIX_MS_AT_START + round((self.now_s() + self._set_by_s) * 1000)

    def set_wall(self, by_s: float) -> None:
        """Somebody sets the machine's clock, forward or back."""
        self._set_by_s += by_s


class ManualClock:
    """A `Clock` for tests without a loop: it moves when `advance` says so."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now_s(self) -> float:
        return self._now_s

    def unix_ms(self) -> int:
        return UNIX_MS_AT_START + round(self._now_s * 1000)

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"time does not go back, asked to advance by {seconds} s")
        self._now_s += seconds


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose time moves only when nothing is ready to run."""

    def __init__(self, limits: Limits, *, tick_s: float | None = None) -> None:
        self._time = _Time(tick_s)
        self._limits = limits
        self._iterations = 0
        self._unseen: list[Exception] = []
        super().__init__(_JumpingSelector(self._turn))
        self.set_exception_handler(self._remember)

    def time(self) -> float:
        return self._time.now_s

    def unseen_failures(self) -> ExceptionGroup[Exception] | None:
        """What callbacks and forgotten tasks raised, if they did."""
        return ExceptionGroup("failures that nobody awaited", self._unseen) if self._unseen else None

    def run_in_executor(self, *_: object) -> NoReturn:
        raise RuntimeError("virtual time has no threads: inject a fake, or use an ordinary event loop")

    def _turn(self, idle_s: float | None) -> None:
        """One turn of the loop: `idle_s` is 0 if something is ready, None if nothing ever will be."""
        self._iterations += 1
        if self._iterations > self._limits.iterations_max:
            self._give_up(f"the loop turned {self._limits.iterations_max} times")
        if idle_s is None:
            self._give_up("nothing is left to happen")
        if self._time.advance(idle_s) > self._limits.seconds_max:
            self._give_up(f"the story is longer than {self._limits.seconds_max} virtual seconds")

    def _give_up(self, why: str) -> NoReturn:
        # The tasks are about to be cancelled; they get a little time to clean up, and not more.
        self._limits = Limits(seconds_max=math.inf, iterations_max=self._iterations + CLEAN_UP_ITERATIONS_MAX)
        waiting = "\n".join(f"  {_where(task)}" for task in asyncio.all_tasks(self))
        message = f"{why} at {self.time():g} s, yet these tasks have not ended:\n{waiting}"
        raise VirtualTimeError(message) from self.unseen_failures()

    def _remember(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._unseen.append(context.get("exception") or RuntimeError(context["message"]))


class _Time:
    """Seconds since the story began, in whole ticks if there is a tick."""

    def __init__(self, tick_s: float | None) -> None:
        self.now_s = 0.0
        self._tick_s = tick_s
        self._ticks = 0

    def advance(self, seconds: float) -> float:
        if seconds <= 0:
            return self.now_s
        if self._tick_s is None:
            self.now_s += seconds
            return self.now_s
        # Counted in integers, as repeated addition of a float tick would drift off the grid. The small
        # allowance keeps a timer that is due on a tick, but for rounding, from falling to the next one.
        due = math.ceil((self.now_s + seconds) / self._tick_s - 1e-6)
        self._ticks = max(due, self._ticks + 1)
        self.now_s = self._ticks * self._tick_s
        return self.now_s


class _JumpingSelector(selectors.BaseSelector):
    """A selector that reports each wait to the loop instead of waiting, and watches nothing."""

    def __init__(self, turn: Callable[[float | None], None]) -> None:
        self._turn = turn
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._turn(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        # The first descriptor is the loop's own wake-up pipe; a second one is a socket of the test.
        if self._keys:
            raise RuntimeError("virtual time has no sockets: inject a fake, or use an ordinary event loop")
        key = selectors.SelectorKey(fileobj, fileobj, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


def _where(task: "asyncio.Task[Any]") -> str:
    """Name a task and the innermost line, outside asyncio itself, that it is suspended at."""
    place = "not started"
    step: Any = task.get_coro()
    while frame := getattr(step, "cr_frame", None):
        if Path(frame.f_code.co_filename).parent != ASYNCIO_DIRECTORY:
            place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        step = step.cr_await
    return f"{task.get_name()}: {place}"
