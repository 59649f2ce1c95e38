"""CloudWatch Logs' filter patterns: which messages somebody wants to see.

Terms (`ERROR`, `"exact words"`, `?one ?another`, `-without`), `%a regular expression%`, and conditions on
messages that are JSON (`{ $.level = "ERROR" && $.ms > 100 }`). After the CloudWatch Logs user guide, "Filter
pattern syntax". Patterns of columns (`[ip, user, ...]`) are refused.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from lambent.wire.typed import from_json

TERM: Final = re.compile(r'\s*([?-]?)(?:"((?:[^"\\]|\\.)*)"|(\S+))')
WORD: Final = re.compile(
    r"""\s*(&&|\|\||\(|\)|!=|<=|>=|=|<|>|"(?:[^"\\]|\\.)*"|%[^%]+%|(?:(?!&&|\|\|)[^\s()=<>!"&|])+)"""
)
STEP: Final = re.compile(r"\.([A-Za-z0-9_@-]+)|\[(\d+|\*)\]|\['([^']+)'\]")
NESTING_MAX: Final = 20
EXPRESSION_CHARACTERS_MAX: Final = 1024
# A group that repeats and holds a repetition takes for ever on some messages.
RUNS_AWAY: Final = re.compile(r"\([^)]*[*+{][^)]*\)\s*[*+{]")

Matches = Callable[[str], bool]
Holds = Callable[[object], bool]


class BadPattern(ValueError):
    """It is no filter pattern, or one that is not supported."""


def read_pattern(text: str) -> Matches:
    """What tells whether a message matches. An empty pattern matches all. Raises `BadPattern`."""
    text = text.strip()
    if text.startswith("{") and text.endswith("}"):
        return _json_pattern(text[1:-1])
    if text.startswith("["):
        raise BadPattern("patterns of columns are not supported: use terms or { $.member = value }")
    if len(text) > 2 and text[0] == text[-1] == "%":
        expression = _expression(text[1:-1])
        return lambda message: expression.search(message) is not None
    return _terms(text)


def _terms(text: str) -> Matches:
    wanted: list[str] = []
    one_of: list[str] = []
    without: list[str] = []
    at = 0
    while at < len(text):
        match = TERM.match(text, at)
        if match is None:
            raise BadPattern(f"{text[at:][:40]!r} is no term")
        sign, quoted, plain = match.groups()
        term = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
        {"": wanted, "?": one_of, "-": without}[sign].append(term)
        at = match.end()

    def matches(message: str) -> bool:
        return (
            all(term in message for term in wanted)
            and (not one_of or bool(wanted) or any(term in message for term in one_of))
            and not any(term in message for term in without)
        )

    return matches


def _expression(text: str) -> re.Pattern[str]:
    if len(text) > EXPRESSION_CHARACTERS_MAX or RUNS_AWAY.search(text):
        raise BadPattern("the regular expression is too long, or repeats what repeats")
    try:
        return re.compile(text)
    except re.error as error:
        raise BadPattern(f"the regular expression cannot be read: {error}") from error


def _json_pattern(text: str) -> Matches:
    holds = _Conditions(text).read()

    def matches(message: str) -> bool:
        stripped = message.strip()
        if not stripped.startswith("{"):
            return False
        try:
            return holds(from_json(stripped, object))
        except (msgspec.DecodeError, RecursionError):
            return False

    return matches


class _Conditions:
    """Reads `condition && (condition || condition)`; `&&` binds closer."""

    def __init__(self, text: str) -> None:
        self._words: Final[list[str]] = []
        at = 0
        while text[at:].strip():
            match = WORD.match(text, at)
            if match is None:
                raise BadPattern(f"{text[at:][:40]!r} cannot be read")
            self._words.append(match[1])
            at = match.end()
        self._at = 0

    def read(self) -> Holds:
        found = self._either(0)
        if self._at < len(self._words):
            raise BadPattern(f"{self._words[self._at]!r} is too much")
        return found

    def _either(self, depth: int) -> Holds:
        parts = [self._both(depth)]
        while self._next_is("||"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else lambda value: any(part(value) for part in parts)

    def _both(self, depth: int) -> Holds:
        parts = [self._one(depth)]
        while self._next_is("&&"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else lambda value: all(part(value) for part in parts)

    def _one(self, depth: int) -> Holds:
        if depth > NESTING_MAX:
            raise BadPattern("it is nested too deeply")
        if self._next_is("("):
            inner = self._either(depth + 1)
            if not self._next_is(")"):
                raise BadPattern("a ')' is missing")
            return inner
        selector = _selector(self._take())
        operator = self._take()
        if operator.upper() in ("IS", "NOT"):
            return _existence(selector, operator.upper(), self._take().upper())
        return _comparison(selector, operator, self._take())

    def _next_is(self, word: str) -> bool:
        found = self._at < len(self._words) and self._words[self._at] == word
        self._at += found
        return found

    def _take(self) -> str:
        if self._at >= len(self._words):
            raise BadPattern("it ends in the middle")
        self._at += 1
        return self._words[self._at - 1]


def _selector(text: str) -> Callable[[object], Sequence[object]]:
    """What `$.a.b[0]` names in a value: nothing, one thing, or with `[*]` many."""
    if not text.startswith("$"):
        raise BadPattern(f"{text[:40]!r} is no selector: one begins with '$.'")
    steps: list[str | int | None] = []
    at = 1
    while at < len(text):
        match = STEP.match(text, at)
        if match is None:
            raise BadPattern(f"{text[:40]!r} is no selector")
        name, index, quoted = match.groups()
        steps.append(name or quoted if index is None else None if index == "*" else int(index))
        at = match.end()

    def select(value: object) -> Sequence[object]:
        found = [value]
        for step in steps:
            found = [inner for outer in found for inner in _inside(outer, step)]
        return found

    return select


def _inside(value: object, step: str | int | None) -> Sequence[object]:
    if isinstance(step, str):
        return [value[step]] if isinstance(value, dict) and step in value else []
    if not isinstance(value, list):
        return []
    if step is None:
        return value
    return [value[step]] if step < len(value) else []


def _existence(selector: Callable[[object], Sequence[object]], operator: str, what: str) -> Holds:
    match operator, what:
        case "NOT", "EXISTS":
            return lambda value: not selector(value)
        case "IS", "NULL":
            return lambda value: any(found is None for found in selector(value))
        case "IS", "TRUE":
            return lambda value: any(found is True for found in selector(value))
        case "IS", "FALSE":
            return lambda value: any(found is False for found in selector(value))
    raise BadPattern(f"{operator} {what} is no condition")


def _comparison(selector: Callable[[object], Sequence[object]], operator: str, word: str) -> Holds:
    fits = _fits(operator, word)
    if operator == "!=":
        return lambda value: any(not fits(found) for found in selector(value))
    return lambda value: any(fits(found) for found in selector(value))


def _fits(operator: str, word: str) -> Holds:
    if word.startswith("%") and operator in ("=", "!="):
        expression = _expression(word.strip("%"))
        return lambda found: isinstance(found, str) and expression.search(found) is not None
    number = None if word.startswith('"') else _number(word)
    if operator in ("=", "!="):
        if number is not None:
            return lambda found: _is_number(found) and found == number
        wanted = re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word
        # Only `*` is a wildcard.
        glob = re.compile(fnmatch.translate(wanted.replace("[", "[[]").replace("?", "[?]")))
        return lambda found: glob.match(_as_text(found)) is not None
    if number is None or operator not in ("<", ">", "<=", ">="):
        raise BadPattern(f"{operator} {word[:40]} is no comparison")
    return lambda found: _is_number(found) and _compares(found, operator, number)


def _compares(found: object, operator: str, number: float) -> bool:
    assert isinstance(found, int | float)
    match operator:
        case "<":
            return found < number
        case ">":
            return found > number
        case "<=":
            return found <= number
    return found >= number


def _is_number(found: object) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)


def _as_text(found: object) -> str:
    if isinstance(found, str):
        return found
    return msgspec.json.encode(found).decode()


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
