"""`POST /v1/audio/transcriptions`: what is sent as a form, and what was heard in the forms of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from lambent.wire.multipart import BadForm, Field, fields_of
from lambent.wire.openai.errors import error_body
from lambent.wire.openai.events import COMMENT, DONE, body, event
from lambent.wire.skills import Json, Part, Said, Transcription, Usage
from lambent.wire.speech import Refused, Tally, Trouble

PLAIN: Final = "text/plain; charset=utf-8"
TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "json": "application/json",
        "verbose_json": "application/json",
        "text": PLAIN,
        "srt": "application/x-subrip; charset=utf-8",
        "vtt": "text/vtt; charset=utf-8",
    }
)


class TranscriptionBody(msgspec.Struct, frozen=True):
    """A form as it was sent: which model, in which form it shall answer, and what it is asked."""

    model: str
    form: str
    ask: Transcription

    def encoded(self) -> bytes:
        """For the model's `transcribe`."""
        return msgspec.msgpack.encode(self.ask)


def read_form(content_type: str, sent: bytes, *, translate: bool = False) -> TranscriptionBody:
    """Read a form. Raises `Refused`."""
    try:
        fields = fields_of(content_type, sent)
    except BadForm as error:
        raise Refused(str(error)) from error
    file = next((field for field in fields if field.name == "file"), None)
    if file is None:
        raise Refused("Missing required parameter: 'file'.", code="missing_required_parameter", param="file")
    texts = {field.name: _text(field) for field in fields if field is not file}
    form = texts.get("response_format") or "json"
    if form not in TYPES:
        raise Refused(f"response_format is one of {', '.join(TYPES)}", param="response_format")
    ask = Transcription(
        audio=file.content,
        file_name=file.file_name,
        language=texts.get("language", ""),
        prompt=texts.get("prompt", ""),
        temperature=_temperature(texts.get("temperature", "")),
        translate=translate,
        stream=texts.get("stream", "").lower() in ("true", "1"),
        fields=texts,
    )
    return TranscriptionBody(texts.get("model", ""), form, ask)


def transcript(asked: TranscriptionBody, said: Said) -> bytes:
    """What was heard, in the form that is wanted."""
    text = "".join(part.text for part in said.choices).strip()
    match asked.form:
        case "text":
            return f"{text}\n".encode()
        case "srt":
            cues = [f"{number}\n{_cue(part, ',')}" for number, part in enumerate(said.segments, 1)]
            return "".join(cues).encode()
        case "vtt":
            return "".join(["WEBVTT\n\n", *(_cue(part, ".") for part in said.segments)]).encode()
        case "verbose_json":
            return body(_verbose(asked.ask, text, said))
        case _:
            return body({"text": text, "usage": _usage(said.usage)} if said.usage else {"text": text})


class TranscriptTeller:
    """See `speech.Teller`, of which it has all but the whole: that has many forms."""

    def __init__(self) -> None:
        self._texts: Final[list[str]] = []
        self._tally: Final = Tally()

    def whole(self, said: Said) -> bytes:
        """As JSON."""
        return body({"text": "".join(part.text for part in said.choices).strip()})

    def begin(self) -> bytes:
        """Nothing is said of what will be heard."""
        return b""

    def part(self, part: Part) -> bytes:
        """What was heard next."""
        self._tally.add(part)
        self._texts.append(part.text)
        return event({"type": "transcript.text.delta", "delta": part.text}) if part.text else b""

    def end(self) -> bytes:
        """All of it."""
        done: Json = {"type": "transcript.text.done", "text": "".join(self._texts).strip()}
        if (usage := self._tally.total()) is not None:
            done["usage"] = _usage(usage)
        return event(done) + DONE

    def trouble(self, trouble: Trouble) -> bytes:
        """An error in place of what would have come."""
        return event(error_body(trouble))

    def quiet(self) -> bytes:
        """A comment."""
        return COMMENT


def _verbose(ask: Transcription, text: str, said: Said) -> Json:
    segments = [
        {
            "id": place,
            "seek": 0,
            "start": part.start_s or 0.0,
            "end": part.end_s or 0.0,
            "text": part.text,
            "tokens": [],
            "temperature": ask.temperature or 0.0,
            "avg_logprob": 0.0,
            "compression_ratio": 0.0,
            "no_speech_prob": 0.0,
        }
        for place, part in enumerate(said.segments)
    ]
    return {
        "task": "translate" if ask.translate else "transcribe",
        "language": ask.language,
        "duration": max((part.end_s or 0.0 for part in said.segments), default=0.0),
        "text": text,
        "segments": segments,
    }


def _usage(usage: Usage) -> Json:
    return {
        "type": "tokens",
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _cue(part: Part, point: str) -> str:
    return f"{_clock(part.start_s, point)} --> {_clock(part.end_s, point)}\n{part.text.strip()}\n\n"


def _clock(seconds: float | None, point: str) -> str:
    milliseconds = round((seconds or 0.0) * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _text(field: Field) -> str:
    return field.content.decode("utf-8", "replace")


def _temperature(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError as error:
        raise Refused(f"Invalid type for 'temperature': {text!r}.", param="temperature") from error
