"""What talking clients may send is read or refused, and what models say is told in each protocol's events."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambent.runtimes.adapters.gguf_header import read_header
from lambent.runtimes.adapters.predictor import BadModel
from lambent.wire.anthropic.asked import MessagesBody
from lambent.wire.anthropic.messages import MessageTeller
from lambent.wire.anthropic.plain import page
from lambent.wire.multipart import PARTS_MAX, BadForm, fields_of
from lambent.wire.openai.asked import ChatBody, CompletionBody, EmbeddingBody, RerankBody, read
from lambent.wire.openai.chat import ChatTeller
from lambent.wire.openai.completions import CompletionTeller
from lambent.wire.openai.events import Made
from lambent.wire.openai.responses import ResponseTeller
from lambent.wire.openai.responses_asked import ResponsesBody
from lambent.wire.openai.transcripts import read_form
from lambent.wire.skills import Part, Usage
from lambent.wire.speech import Refused, Teller, Trouble, gather
from tests.support.talkers import bodies

MADE = Made("chatcmpl-1", 5, "m")
FORM = "multipart/form-data; boundary=x"

parts = st.builds(
    Part,
    text=st.text(max_size=5),
    reasoning=st.text(max_size=3),
    tool_calls=st.lists(
        st.fixed_dictionaries(
            {"function": st.fixed_dictionaries({"name": st.just("f"), "arguments": st.just("{}")})},
            optional={"index": st.integers(0, 3), "id": st.just("call")},
        ),
        max_size=2,
    ),
    finish_reason=st.sampled_from(["", "stop", "length"]),
    usage=st.none() | st.just(Usage(1, 2)),
)


@settings(max_examples=60)
@given(bodies)
def test_any_body_is_read_or_refused(body: dict[str, Any]) -> None:
    sent = msgspec.json.encode(body)
    for kind in (ChatBody, CompletionBody, EmbeddingBody, RerankBody, MessagesBody, ResponsesBody):
        with contextlib.suppress(Refused):
            asked: Any = read(sent, kind)
            if isinstance(asked, ChatBody | CompletionBody):
                asked.asks(body)
            elif isinstance(asked, MessagesBody | ResponsesBody):
                read(asked.chat(), ChatBody)
            else:
                asked.ask(body)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b'{"messages": 5}', "messages", "invalid_type"),
        (b"{}", "messages", "missing_required_parameter"),
        (
            b'{"messages": [{"role": "user", "content": "hi"}], "stream_options": {"include_usage": "yes"}}',
            "stream_options.include_usage",
            "invalid_type",
        ),
        (b"nonsense", None, ""),
    ],
)
def test_a_refusal_names_the_field(body: bytes, param: str | None, code: str) -> None:
    with pytest.raises(Refused) as caught:
        read(body, ChatBody)
    assert (caught.value.param, caught.value.error_code) == (param, code)


def events_of(text: bytes) -> list[Any]:
    lines = [line for line in text.split(b"\n") if line.startswith(b"data: {")]
    return [msgspec.json.decode(line.removeprefix(b"data: ")) for line in lines]


def tellers() -> list[Teller]:
    return [
        ChatTeller(MADE, choices=1, usage_wanted=True),
        CompletionTeller(MADE, choices=1, usage_wanted=True, echoes=[]),
        MessageTeller("msg_1", "m", "request"),
        ResponseTeller(Made("resp_1", 5, "m"), {}),
    ]


@given(st.lists(parts, max_size=6))
def test_a_stream_tells_all_that_the_whole_tells(said: list[Part]) -> None:
    whole = gather(said)
    text = whole.choices[0].text if whole.choices else ""
    chat, completion, message, response = (
        events_of(teller.begin() + b"".join(map(teller.part, said)) + teller.end()) for teller in tellers()
    )
    deltas = [choice["delta"] for event in chat for choice in event["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == text
    assert "".join(choice["text"] for event in completion for choice in event["choices"]) == text
    assert "".join(event["delta"].get("text", "") for event in message if "delta" in event) == text
    opened = [event["index"] for event in message if event["type"] == "content_block_start"]
    closed = [event["index"] for event in message if event["type"] == "content_block_stop"]
    assert opened == closed == [*range(len(opened))]
    assert [event["sequence_number"] for event in response] == [*range(len(response))]
    done = response[-1]["response"]["output"]
    spoken = [item["content"][0]["text"] for item in done if item["type"] == "message"]
    assert "".join(spoken) == text
    added = [event["output_index"] for event in response if event["type"] == "response.output_item.added"]
    assert added == [*range(len(done))]


def test_a_stream_that_breaks_off_says_why_in_every_protocol() -> None:
    for teller in tellers():
        told = teller.begin() + teller.trouble(Trouble(status=500, code="broke", message="it broke"))
        assert b"it broke" in told
        assert b"[DONE]" not in told


@given(st.lists(st.tuples(st.text("ab", min_size=1), st.binary(max_size=40)), max_size=4))
def test_forms_are_read_as_they_were_written(written: list[tuple[str, bytes]]) -> None:
    boundary = b"0d8af1c4"
    body = b"".join(
        b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="f.wav"\r\n\r\n%b\r\n'
        % (boundary, name.encode(), content)
        for name, content in written
    )
    found = fields_of("multipart/form-data; boundary=0d8af1c4", body + b"--%b--\r\n" % boundary)
    assert [(field.name, field.content) for field in found] == written
    assert all(field.file_name == "f.wav" for field in found)


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from([b"--x", b"\r\n", b"--", b"name=a", b"Content-Disposition: form-data; ", b"\xff"])
    )
)
def test_other_bodies_are_no_forms_and_nothing_worse(pieces: list[bytes]) -> None:
    with contextlib.suppress(Refused):
        read_form(FORM, b"".join(pieces))


def test_a_form_has_a_bounded_number_of_parts() -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    assert len(fields_of(FORM, part * PARTS_MAX + b"--x--")) == PARTS_MAX
    with pytest.raises(BadForm, match="more than"):
        fields_of(FORM, part * (PARTS_MAX + 1) + b"--x--")


@pytest.mark.parametrize("limit", ["", "-1", "x", "²", "9" * 5000])
def test_a_page_of_models_has_a_limit_that_is_a_number(limit: str) -> None:
    models: Any = [{"id": str(number)} for number in range(30)]
    assert len(page(models, {"limit": limit})["data"]) == 20
    second = page(models, {"limit": "10", "after_id": "19"})
    assert (second["first_id"], second["last_id"], second["has_more"]) == ("20", "29", False)


def gguf(*entries: bytes, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(entries)) + b"".join(entries)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def test_a_gguf_file_says_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    tokens = text(b"tokens") + struct.pack("<IIQ", 9, 8, 2) + text(b"a") + text(b"bc")
    scores = text(b"scores") + struct.pack("<IIQ", 9, 6, 2) + struct.pack("<ff", 1, 2)
    length = text(b"llama.context_length") + struct.pack("<II", 4, 2048)
    name = text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
    file.write_bytes(gguf(tokens, scores, length, name))
    assert read_header(file) == {"llama.context_length": 2048, "general.architecture": "llama"}


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_what_is_no_gguf_file_is_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, rest: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "bad.gguf"
    for content in (rest, b"GGUF" + rest, b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + rest):
        file.write_bytes(content)
        with contextlib.suppress(BadModel):
            read_header(file)
