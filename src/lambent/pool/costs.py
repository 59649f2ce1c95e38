"""What wakes cost, step by step: learned from the wakes that there were, guessed from others before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from lambent.core.keepalive import Wakes
from lambent.core.memories import Amount
from lambent.core.spec import Temperature
from lambent.wire.api import WakeView

# Before there was any wake: an interpreter with a framework, a small model, a fork.
IMPORT_MS: Final = 1500.0
LOAD_MS: Final = 300.0
FORK_MS: Final = 15.0
IMPORTING: Final = frozenset({"exec", "import"})
ASIDE: Final = frozenset({"queue", "probe"})  # a wait for others; once in a revision's life
SMOOTHING: Final = 0.3  # the weight of what was seen last


class CostsMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of each step, by environment and by revision; and the mean of each step."""

    imports: dict[str, Amount]
    loads: dict[str, Amount]
    forks: dict[str, Amount]
    import_ms: Amount
    load_ms: Amount
    fork_ms: Amount


class Costs:
    """Milliseconds of each step: cold to warm by environment, warm to primed and primed to hot by revision.

    Where one has not been seen, the mean of the others stands in. Bounded by what is deployed.
    """

    def __init__(self) -> None:
        self._imports: dict[str, float] = {}
        self._loads: dict[str, float] = {}
        self._forks: dict[str, float] = {}
        self._means: dict[str, float] = {"import": IMPORT_MS, "load": LOAD_MS, "fork": FORK_MS}

    def wakes(self, revision: str, environment: str) -> Wakes:
        """What a wake of this revision costs from each temperature."""
        primed_ms = self._forks.get(revision, self._means["fork"])
        warm_ms = primed_ms + self._loads.get(revision, self._means["load"])
        return Wakes(
            primed_ms=primed_ms,
            warm_ms=warm_ms,
            cold_ms=warm_ms + self._imports.get(environment, self._means["import"]),
        )

    def woke(self, revision: str, environment: str, wake: WakeView) -> None:
        """A worker was started."""
        if wake.temperature in (Temperature.PRIMED, Temperature.HOT):
            self._forks[revision] = self._smoothed("fork", self._forks.get(revision), wake.total_ms)
        else:
            self.primed(revision, environment, wake.parts_ms)

    def primed(self, revision: str, environment: str, parts_ms: Mapping[str, float]) -> None:
        """A template was loaded, whatever it was loaded for."""
        import_ms = sum(ms for part, ms in parts_ms.items() if part in IMPORTING)
        load_ms = sum(ms for part, ms in parts_ms.items() if part not in IMPORTING | ASIDE)
        if import_ms:
            self._imports[environment] = self._smoothed("import", self._imports.get(environment), import_ms)
        if load_ms:
            self._loads[revision] = self._smoothed("load", self._loads.get(revision), load_ms)

    def memory(self) -> CostsMemory:
        """What was seen."""
        return CostsMemory(
            imports=dict(self._imports),
            loads=dict(self._loads),
            forks=dict(self._forks),
            import_ms=self._means["import"],
            load_ms=self._means["load"],
            fork_ms=self._means["fork"],
        )

    def recall(self, memory: CostsMemory) -> None:
        """Know what was seen before."""
        self._imports, self._loads = dict(memory.imports), dict(memory.loads)
        self._forks = dict(memory.forks)
        self._means = {"import": memory.import_ms, "load": memory.load_ms, "fork": memory.fork_ms}

    def forget(self, revisions: frozenset[str], environments: frozenset[str]) -> None:
        """Remember these alone."""
        self._loads = {name: ms for name, ms in self._loads.items() if name in revisions}
        self._forks = {name: ms for name, ms in self._forks.items() if name in revisions}
        self._imports = {key: ms for key, ms in self._imports.items() if key in environments}

    def _smoothed(self, step: str, before: float | None, seen_ms: float) -> float:
        self._means[step] += SMOOTHING * (seen_ms - self._means[step])
        return seen_ms if before is None else before + SMOOTHING * (seen_ms - before)
