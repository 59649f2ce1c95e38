"""Has what a model answers become something else? Windows of its answers, compared by their distributions.

The measure is the population stability index, the sum over bins of (p - q) ln(p / q): under 0.1 little has
changed, above 0.25 much has. Source: Siddiqi, "Credit Risk Scorecards", Wiley 2006, chapter 9; it is the
symmetric form of the Kullback-Leibler divergence. Numbers are binned by the deciles of the reference.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

WINDOW: Final = 500  # answers: sampling noise alone gives ten bins an index of about 0.04
SIGNALS_MAX: Final = 16
KINDS_MAX: Final = 100  # different texts of one signal; the rest are one kind
BINS: Final = 10
IN_A_ROW: Final = 2  # windows that must have drifted
TEXT_CHARS_MAX: Final = 64
REST: Final = "\0"
ABSENT: Final = "\0\0"
WHOLE: Final = "answer"

Value = str | float


class Drift(msgspec.Struct, frozen=True):
    """A signal whose distribution has moved by `index` since the reference."""

    signal: str
    index: float


def signals(answer: object) -> dict[str, Value]:
    """What of an answer is watched: its texts and numbers, and of a list of probabilities which is largest.

    `answer` is as JSON gives it. Of several rows the first is watched, of nested fields those at the top.
    """
    fields = answer.items() if isinstance(answer, dict) else [(WHOLE, answer)]
    found: dict[str, Value] = {}
    for name, value in fields:
        seen = _value(value)
        if seen is not None:
            found[str(name)[:TEXT_CHARS_MAX]] = seen
        if len(found) == SIGNALS_MAX:
            break
    return found


class Window:
    """So many answers in a row, by signal."""

    def __init__(self) -> None:
        self.size = 0
        self._values: Final[dict[str, list[Value]]] = {}

    def add(self, answer: Mapping[str, Value]) -> None:
        """One more."""
        self.size += 1
        for name, value in answer.items():
            if name in self._values or len(self._values) < SIGNALS_MAX:
                self._values.setdefault(name, []).append(value)

    @property
    def values(self) -> Mapping[str, Sequence[Value]]:
        """What was seen of each signal."""
        return self._values


class Reference:
    """The distributions that later windows are compared with."""

    def __init__(self, window: Window) -> None:
        self._bins: Final = {name: _Bins(values, window.size) for name, values in window.values.items()}

    def drifts(self, window: Window) -> Iterator[Drift]:
        """Each signal with how far it has moved."""
        for name, bins in self._bins.items():
            yield Drift(name, bins.index(window.values.get(name, ()), window.size))


class Watch:
    """Follows the answers of one revision. Its first window is the reference."""

    def __init__(self, limit: float, *, size: int = WINDOW) -> None:
        self._limit: Final = limit
        self._size: Final = size
        self._window = Window()
        self._reference: Reference | None = None
        self._in_a_row = 0

    def add(self, answer: Mapping[str, Value]) -> Drift | None:
        """One more answer. The drift, once it has lasted for `IN_A_ROW` windows; then it begins anew."""
        self._window.add(answer)
        if self._window.size < self._size:
            return None
        full, self._window = self._window, Window()
        if self._reference is None:
            self._reference = Reference(full)
            return None
        worst = max(self._reference.drifts(full), key=lambda one: one.index, default=Drift("", 0.0))
        self._in_a_row = self._in_a_row + 1 if worst.index > self._limit else 0
        if self._in_a_row < IN_A_ROW:
            return None
        self._in_a_row = 0
        return worst


class _Bins:
    """How one signal was distributed: by kind where it was ever text, else by deciles."""

    def __init__(self, values: Sequence[Value], size: int) -> None:
        self._is_text: Final = any(isinstance(value, str) for value in values)
        numbers = sorted(value for value in values if not isinstance(value, str))
        last = len(numbers) - 1
        self._edges: Final = (
            sorted({numbers[round(last * cut / BINS)] for cut in range(1, BINS)}) if numbers else []
        )
        common = Counter(str(value) for value in values).most_common(KINDS_MAX)
        self._kinds: Final = {kind for kind, _ in common}
        self._shares: Final = self._counted(values, size)

    def index(self, values: Sequence[Value], size: int) -> float:
        """The population stability index of a later window of `size` answers."""
        now = self._counted(values, size)
        kinds = self._shares.keys() | now.keys()
        before, after = self._smoothed(self._shares, kinds), self._smoothed(now, kinds)
        return sum((after[kind] - before[kind]) * math.log(after[kind] / before[kind]) for kind in kinds)

    def _counted(self, values: Sequence[Value], size: int) -> Counter[str | int]:
        """How many answers are in each bin; those without the signal are in one of their own."""
        if self._is_text:
            texts = (str(value) for value in values)
            counts: Counter[str | int] = Counter(text if text in self._kinds else REST for text in texts)
        else:
            counts = Counter(
                REST if isinstance(value, str) else bisect_right(self._edges, value) for value in values
            )
        if size > len(values):
            counts[ABSENT] = size - len(values)
        return counts

    def _smoothed(self, counts: Counter[str | int], kinds: set[str | int]) -> dict[str | int, float]:
        """Shares of which none is 0: as if half an answer more had been seen in each bin."""
        total = counts.total() + 0.5 * len(kinds)
        return {kind: (counts[kind] + 0.5) / total for kind in kinds}


def _value(value: object) -> Value | None:
    if isinstance(value, bool | str):
        return str(value)[:TEXT_CHARS_MAX]
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, list) and value:
        if isinstance(value[0], list | dict):
            return _value(value[0])
        numbers = [float(one) for one in value if isinstance(one, int | float) and not isinstance(one, bool)]
        if len(numbers) != len(value):
            return None
        if len(numbers) == 1:
            return numbers[0]
        if all(0 <= one <= 1 for one in numbers) and abs(sum(numbers) - 1) < 1e-3:
            return str(numbers.index(max(numbers)))
        return sum(numbers) / len(numbers)
    return None
