"""The gate before a model serves: what its metrics must be, alone and beside the champion's."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from lambent.core.errors import InvalidSpec
from lambent.core.worded import shown

# `accept(metrics)` or `accept(metrics, champion)`, with `Metrics`; the champion is None where none serves.
Accept = Callable[..., Any]
DESCRIPTION_CHARS_MAX: Final = 200
IN_CODE: Final = "code: "  # what the setting begins with where the gate is a function of the user's
ANY_EVALUATED: Final = "any that can be evaluated"  # where there is only evaluate=
GATE: Final = "__lambent_gate__"  # the mark on a model class that has such functions

COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = MappingProxyType(
    {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
)
NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
BOUND: Final = re.compile(rf"([A-Za-z_]\w*)\s*(>=|<=|>|<)\s*({NUMBER})")
BETTER: Final = re.compile(rf"(better|lower)\(\s*([A-Za-z_]\w*)\s*(?:,\s*by\s*=\s*({NUMBER})\s*)?\)")
EXAMPLES: Final = "accuracy >= 0.97, better(accuracy), lower(loss, by=0.01), joined by 'and'"


class Metrics(Mapping[str, float]):
    """The final metrics of a run: `m.accuracy`, `m["accuracy"]` or `m.get("accuracy", 0.0)`."""

    def __init__(self, values: Mapping[str, float]) -> None:
        self._values: Final = dict(values)

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __getattr__(self, name: str) -> float:
        if name.startswith("_") or name not in self._values:
            there = ", ".join(self._values) or "none"
            raise AttributeError(f"the run reported no metric {name!r}; it reported {there}")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return ", ".join(f"{name}={value:g}" for name, value in self._values.items())


class Bound(msgspec.Struct, frozen=True):
    """`metric comparison limit`, such as `accuracy >= 0.97`."""

    metric: str
    comparison: str
    limit: float

    def __call__(self, metrics: Metrics, champion: Metrics | None) -> bool:
        return COMPARISONS[self.comparison](getattr(metrics, self.metric), self.limit)

    def __str__(self) -> str:
        return f"{self.metric} {self.comparison} {self.limit:g}"


class Better(msgspec.Struct, frozen=True):
    """Above the champion's by more than `by`, or below it where `is_lower`. Where there is none, any is."""

    metric: str
    by: float = 0.0
    is_lower: bool = False

    def __call__(self, metrics: Metrics, champion: Metrics | None) -> bool:
        own = getattr(metrics, self.metric)
        if champion is None or self.metric not in champion:
            return True  # nothing to be compared with
        gain = own - champion[self.metric]
        return bool((-gain if self.is_lower else gain) > self.by)

    def __str__(self) -> str:
        word = "lower" if self.is_lower else "better"
        return f"{word}({self.metric}, by={self.by:g})" if self.by else f"{word}({self.metric})"


class Every(msgspec.Struct, frozen=True):
    """All of these."""

    terms: tuple[Bound | Better, ...]

    def __call__(self, metrics: Metrics, champion: Metrics | None) -> bool:
        told = [term(metrics, champion) for term in self.terms]  # each looks for its metric
        return all(told)

    def __str__(self) -> str:
        return " and ".join(map(str, self.terms))


class Verdict(msgspec.Struct, frozen=True):
    """Whether a model may serve, and why not. `champion` are the metrics that it was compared with."""

    accepted: bool
    why: str = ""
    champion: dict[str, float] | None = None


class Judges(msgspec.Struct, frozen=True):
    """What a model class declares of its judging. `evaluate(model, run)` gives metrics on held-out data."""

    accept: Accept | None = None
    evaluate: Callable[..., Any] | None = None


def setting(accept: Accept | str) -> str:
    """What a decorator said, as the setting `accept` has it. Raises `InvalidSpec`."""
    if not isinstance(accept, str):
        return f"{IN_CODE}{described(accept)}"
    return checked(accept) or f"{IN_CODE}{ANY_EVALUATED}"


def checked(text: str) -> str:
    """The setting itself. Raises `InvalidSpec` for words that are none."""
    if text and not text.startswith(IN_CODE):
        expression(text)
    return text


def expression(text: str) -> Every:
    """A gate out of words. Raises `InvalidSpec` that shows what can be written."""
    return Every(tuple(_term(part.strip(), text) for part in re.split(r"\band\b", text)))


def described(accept: Accept) -> str:
    """A gate in one line, for people."""
    if isinstance(accept, Every | Bound | Better):
        return str(accept)
    import inspect  # of no use to the workers that import this, and it costs 10 ms

    try:
        source = " ".join(inspect.getsource(accept).split())
    except (OSError, TypeError):
        source = ""
    found = re.search(r"accept\s*=\s*(lambda\b.*)", source) if "lambda" in source else None
    text = _closed(found[1]) if found else getattr(accept, "__name__", type(accept).__name__)
    return text[:DESCRIPTION_CHARS_MAX]


def judged(accept: Accept, metrics: Mapping[str, float], champion: Mapping[str, float] | None) -> Verdict:
    """Ask the gate. One that raises accepts nothing."""
    own = Metrics(metrics)
    other = None if champion is None else Metrics(champion)
    compared = None if champion is None else dict(champion)
    try:
        accepted = bool(accept(own, other) if _takes_champion(accept) else accept(own))
    except Exception as error:  # noqa: BLE001 - around user code
        return Verdict(False, f"its gate raised {type(error).__name__}: {error}", compared)
    if accepted:
        return Verdict(True, champion=compared)
    beside = "" if other is None else f"; the champion has {other!r}"
    return Verdict(False, f"not {described(accept)}: it has {own!r}{beside}", compared)


def _term(text: str, whole: str) -> Bound | Better:
    if match := BOUND.fullmatch(text):
        return Bound(match[1], match[2], float(match[3]))
    if match := BETTER.fullmatch(text):
        return Better(match[2], float(match[3] or 0.0), match[1] == "lower")
    raise InvalidSpec(f"accept={shown(whole)} cannot be read at {shown(text)}; write {EXAMPLES}")


def _takes_champion(accept: Accept) -> bool:
    import inspect

    try:
        parameters = inspect.signature(accept).parameters.values()
    except (TypeError, ValueError):
        return False
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [one for one in parameters if one.default is one.empty or one.name == "champion"]
    positional = [one for one in needed if one.kind in places]
    return len(positional) > 1 or any(one.kind is one.VAR_POSITIONAL for one in parameters)


def _closed(text: str) -> str:
    """A lambda out of the call that it is an argument of: as far as its own brackets go."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth < 0 or (depth == 0 and character == "," and ":" in text[:place]):
            return text[:place].rstrip()
    return text
