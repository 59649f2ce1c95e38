"""The tokens that an answer took, noted for whoever tells others of invocations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from lambent.wire.skills import Part, Said, Usage
from lambent.wire.speech import Teller, Trouble


class Notes(Protocol):
    """Who keeps what a door knows of an invocation: the export of spans."""

    def note(self, invocation_id: str, attributes: Mapping[str, str | bool | int | float]) -> None:
        """It runs, or has just ended."""


def note_usage(notes: Notes | None, invocation_id: str, usages: Iterable[Usage | None]) -> None:
    """Note what several answers of one invocation took together, in the words of GenAI's conventions."""
    known = [usage for usage in usages if usage is not None]
    if notes is not None and known:
        attributes = {
            "gen_ai.usage.input_tokens": sum(one.input_tokens for one in known),
            "gen_ai.usage.output_tokens": sum(one.output_tokens for one in known),
        }
        notes.note(invocation_id, attributes)


class NotingTeller:
    """Tells as another does, and notes the usage that it sees; of several answers, all together."""

    def __init__(self, teller: Teller, notes: Notes, invocation_id: str) -> None:
        self._teller: Final = teller
        self._notes: Final = notes
        self._invocation_id: Final = invocation_id
        self._usages: Final[dict[int, Usage]] = {}

    def whole(self, said: Said) -> bytes:
        """The body of an answer that does not stream."""
        if said.usage is not None:
            self._note(said.usage, 0)
        return self._teller.whole(said)

    def begin(self) -> bytes:
        """The first events."""
        return self._teller.begin()

    def part(self, part: Part) -> bytes:
        """The events of the next part."""
        if part.usage is not None:
            self._note(part.usage, part.index)
        return self._teller.part(part)

    def end(self) -> bytes:
        """The last events."""
        return self._teller.end()

    def trouble(self, trouble: Trouble) -> bytes:
        """The last events of an answer that breaks off."""
        return self._teller.trouble(trouble)

    def quiet(self) -> bytes:
        """What says nothing."""
        return self._teller.quiet()

    def _note(self, usage: Usage, index: int) -> None:
        self._usages[index] = usage
        note_usage(self._notes, self._invocation_id, self._usages.values())
