"""A completion of a text, whole or in chunks."""

from __future__ import annotations

from typing import Any, Final

from lambent.wire.openai.errors import error_body
from lambent.wire.openai.events import COMMENT, DONE, Made, body, event, usage_of
from lambent.wire.skills import Json, Part, Said
from lambent.wire.speech import Tally, Trouble


class CompletionTeller:
    """See `speech.Teller`. `echoes` are the prompts, by choice, where they are wanted before the answers."""

    def __init__(self, made: Made, *, choices: int, usage_wanted: bool, echoes: list[str]) -> None:
        self._made: Final = made
        self._choices: Final = choices
        self._usage_wanted: Final = usage_wanted
        self._echoes: Final = echoes
        self._tally: Final = Tally()
        self._ends: Final[dict[int, str]] = {}

    def whole(self, said: Said) -> bytes:
        """`text_completion`."""
        answer = self._head()
        answer["choices"] = [
            _choice(part.index, self._echo(part.index) + part.text, part.finish_reason, part.logprobs)
            for part in said.choices
        ]
        if said.usage is not None:
            answer["usage"] = usage_of(said.usage)
        return body(answer)

    def begin(self) -> bytes:
        """The prompts, where they are wanted."""
        return b"".join(
            self._chunk(_choice(index, echo, None)) for index, echo in enumerate(self._echoes) if echo
        )

    def part(self, part: Part) -> bytes:
        """A chunk; what is only told at the end is kept."""
        self._tally.add(part)
        if part.finish_reason:
            self._ends[part.index] = part.finish_reason
        return self._chunk(_choice(part.index, part.text, None, part.logprobs)) if part.text else b""

    def end(self) -> bytes:
        """Why each choice ended, and the usage where it is asked for."""
        events = [
            self._chunk(_choice(index, "", self._ends.get(index) or "stop")) for index in range(self._choices)
        ]
        if self._usage_wanted:
            usage = self._tally.total()
            last = self._head() | {"choices": [], "usage": usage_of(usage) if usage is not None else None}
            events.append(event(last))
        return b"".join([*events, DONE])

    def trouble(self, trouble: Trouble) -> bytes:
        """An error in place of what would have come; clients raise it."""
        return event(error_body(trouble))

    def quiet(self) -> bytes:
        """A comment."""
        return COMMENT

    def _echo(self, index: int) -> str:
        return self._echoes[index] if index < len(self._echoes) else ""

    def _head(self) -> dict[str, Any]:
        made = self._made
        return {"id": made.id, "object": "text_completion", "created": made.created_s, "model": made.model}

    def _chunk(self, choice: Json) -> bytes:
        chunk = self._head()
        chunk["choices"] = [choice]
        if self._usage_wanted:
            chunk["usage"] = None
        return event(chunk)


def _choice(index: int, text: str, finish_reason: str | None, logprobs: list[Json] | None = None) -> Json:
    told = _logprobs(logprobs) if logprobs else None
    return {"index": index, "text": text, "logprobs": told, "finish_reason": finish_reason}


def _logprobs(entries: list[Json]) -> Json:
    """The older form, of columns, from that of a chat."""
    return {
        "tokens": [entry.get("token", "") for entry in entries],
        "token_logprobs": [entry.get("logprob") for entry in entries],
        "top_logprobs": [
            {top.get("token", ""): top.get("logprob") for top in entry.get("top_logprobs") or ()}
            for entry in entries
        ],
    }
