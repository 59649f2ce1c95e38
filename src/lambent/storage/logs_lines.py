"""From the bytes that a process prints to lines that are safe to store and to show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

LINE_BYTES_MAX: Final = 16 * 1024
# What a terminal would take for a colour or a movement of the cursor.
TERMINAL_CODE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
CONTROLS: Final = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if code != ord("\t")}


class LineJoiner:
    """Joins the portions in which one worker's output arrives into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that `chunk` completes. A line over `LINE_BYTES_MAX` comes in several."""
        *whole, rest = (self._rest + chunk).split(b"\n")
        lines = [line for ended in whole for line in _lines(ended)]
        *full, self._rest = _pieces(_overwritten(rest))
        return lines + [cleaned(piece) for piece in full]

    def end(self) -> list[str]:
        """What was printed without a newline at its end; nothing is left after it."""
        rest, self._rest = self._rest, b""
        return _lines(rest) if rest else []

    @property
    def has_rest(self) -> bool:
        """Whether a line has begun."""
        return bool(self._rest)

    @property
    def unfinished(self) -> str:
        """The line so far, empty where none has begun."""
        return cleaned(_overwritten(self._rest))


def cleaned(line: bytes) -> str:
    """A line as text: no control characters but tab, no terminal codes; what is not UTF-8 is replaced."""
    text = line.decode("utf-8", errors="replace")
    return TERMINAL_CODE.sub("", text).translate(CONTROLS) if not text.isprintable() else text


def _lines(ended: bytes) -> list[str]:
    return [cleaned(piece) for piece in _pieces(_overwritten(ended.rstrip(b"\r")))]


def _overwritten(line: bytes) -> bytes:
    """What a terminal shows of a line that goes back to its beginning, as progress bars do.

    A return at the very end stays: a newline may follow it.
    """
    shown = line.rstrip(b"\r")
    kept = shown[shown.rfind(b"\r") + 1 :]
    return kept + b"\r" if len(shown) < len(line) else kept


def _pieces(line: bytes) -> Iterator[bytes]:
    while len(line) > LINE_BYTES_MAX:
        cut = LINE_BYTES_MAX
        # Not inside a character of several bytes, of which all but the first begin with the bits 10.
        while cut > LINE_BYTES_MAX - 4 and line[cut] & 0xC0 == 0x80:
            cut -= 1
        yield line[:cut]
        line = line[cut:]
    yield line
