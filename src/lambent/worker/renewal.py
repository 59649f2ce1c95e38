"""What a fork must make its own: two workers of one template never produce the same random numbers."""

from __future__ import annotations

import functools
import gc
import random
import sys
from typing import Any, Final

SEEDED_BY_USER_MAX: Final = 2**64
BY_CHANCE: Final = "_lambent_seeded_by_chance"


class Renewal:
    """Made in a template when everything is loaded; `renew` is called in each of its workers."""

    def __init__(self, older: Renewal | None = None) -> None:
        # What a template inherited is frozen, and no search finds it again.
        inherited = older._generators if older else ()  # noqa: SLF001  # another of the same class
        self._generators: Final[tuple[Any, ...]] = (*inherited, *_unseeded_randoms(), *_unseeded_generators())

    def renew(self) -> None:
        """Seed anew from the operating system, then run what was registered to run after a restore.

        Global state of `random`, `numpy` and `torch` is always seeded anew; of further generators of `random`
        and of numpy, those that the operating system seeded: a seed that somebody wrote down is meant to
        repeat.
        """
        for name in ("random", "numpy.random"):
            if module := sys.modules.get(name):
                module.seed()
        for generator in self._generators:
            if isinstance(generator, random.Random):
                generator.seed()
            else:
                generator.state = type(generator)().state
        if torch := sys.modules.get("torch"):
            # `torch.seed` would also look for devices, which no fork has: 2 ms and 1.3 MiB in each.
            torch.default_generator.seed()
        _run_hooks("get_after_restore")


def watch_seeds() -> None:
    """From now on, remember which generators of `random` were seeded by the operating system.

    Their state does not tell, unlike numpy's. `random.Random()` calls `seed` itself.
    """
    seed, setstate = random.Random.seed, random.Random.setstate

    @functools.wraps(seed)
    def seed_and_note(self: random.Random, a: Any = None, version: int = 2) -> None:
        seed(self, a, version)
        setattr(self, BY_CHANCE, a is None)

    @functools.wraps(setstate)
    def setstate_and_note(self: random.Random, state: Any) -> None:
        setstate(self, state)
        setattr(self, BY_CHANCE, False)

    random.Random.seed = seed_and_note  # type: ignore[method-assign]  # noted for forks
    random.Random.setstate = setstate_and_note  # type: ignore[method-assign]  # noted for forks


def before_forks(older: Renewal | None = None) -> Renewal:
    """Run what was registered to run before a snapshot, and look for what each fork must renew.

    `older` is what the template that this one was forked from had found.
    """
    _run_hooks("get_before_snapshot")
    return Renewal(older)


def _unseeded_randoms() -> tuple[Any, ...]:
    found = (thing for thing in gc.get_objects() if isinstance(thing, random.Random))
    return tuple(each for each in found if vars(each).get(BY_CHANCE))


def _unseeded_generators() -> tuple[Any, ...]:
    """numpy's generators whose seed came from the operating system: 128 bits, which nobody writes down."""
    numpy = sys.modules.get("numpy.random")
    if numpy is None:
        return ()
    found = (thing for thing in gc.get_objects() if isinstance(thing, numpy.BitGenerator))
    return tuple(each for each in found if _entropy(each) >= SEEDED_BY_USER_MAX)


def _entropy(generator: Any) -> int:
    entropy = getattr(getattr(generator, "seed_seq", None), "entropy", None)
    return entropy if isinstance(entropy, int) else 0


def _run_hooks(which: str) -> None:
    """The hooks of AWS SnapStart's `snapshot_restore_py`, where user code has imported it.

    As there, those before a snapshot run in reverse, and what they raise is the user's error.
    """
    package = sys.modules.get("snapshot_restore_py")
    if package is None:
        return
    hooks = [*getattr(package, which)()]
    for function, args, kwargs in reversed(hooks) if which == "get_before_snapshot" else hooks:
        function(*args, **kwargs)
