"""A handler of TorchServe's is given batches, and each request gets its own answer whatever the others do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.runtimes import logs
from lambent.runtimes.base import Reply, Request
from lambent.runtimes.faults import Fault
from lambent.runtimes.torchserve.context import Context
from lambent.runtimes.torchserve.exchange import FORM
from lambent.runtimes.torchserve.exchange import given as given_of
from lambent.runtimes.torchserve.model import Entry, TorchServeModel
from lambent.runtimes.torchserve.words import load_label_mapping, map_class_to_label
from lambent.wire.frames import Call
from lambent.wire.torchserve import beside, properties_of, settings_of

Handle = Callable[[list[dict[str, Any]], Any], object]


def model(handle: Handle, max_batch: int = 3) -> TorchServeModel:
    context = Context("m", "/models/m", {"model": {"modelName": "m"}}, batch_size=max_batch)
    return TorchServeModel(Entry(lambda _: None, handle), context, logs.RequestLog(), max_batch=max_batch)


def requests(*bodies: bytes) -> list[Request]:
    return [
        Request(Call(call_id=place, invocation_id=f"i{place}", remaining_ms=1e3), body)
        for place, body in enumerate(bodies)
    ]


def told(ended: object) -> object:
    return bytes(ended.body) if isinstance(ended, Reply) else ended


def test_calls_are_given_as_batches_of_so_many_as_are_wanted() -> None:
    seen: list[int] = []

    def handle(data: list[dict[str, Any]], context: Any) -> object:
        seen.append(len(data))
        return [f"{row['body']} {context.get_request_id(place)}" for place, row in enumerate(data)]

    ended = model(handle).together(requests(b"1", b"2", b"3", b"4"))
    assert [told(one) for one in ended] == [b"1 i0", b"2 i1", b"3 i2", b"4 i3"]
    assert seen == [3, 1]


def test_one_that_is_bad_fails_alone(capsys: pytest.CaptureFixture[str]) -> None:
    def handle(data: list[dict[str, Any]], _: Any) -> object:
        return [1 / row.pop("body") for row in data]

    first, second, third = model(handle).together(requests(b"1", b"0", b"2"))
    assert (told(first), told(third)) == (b"1.0", b"0.5")
    assert isinstance(second, ZeroDivisionError)
    assert "they run one by one" in capsys.readouterr().err


def test_a_handler_that_answers_for_all_is_given_one_at_a_time_from_then_on() -> None:
    seen: list[int] = []

    def handle(data: list[dict[str, Any]], _: Any) -> object:
        seen.append(len(data))
        return [sum(row["body"] for row in data)]

    served = model(handle)
    for _ in range(2):
        assert [told(one) for one in served.together(requests(b"1", b"2"))] == [b"1", b"2"]
    assert seen == [2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param({"a": 1}, "not a dict", id="no list"),
        pytest.param([1, 2], "not 2 answers", id="too many"),
        pytest.param(None, "not a NoneType", id="nothing"),
    ],
)
def test_an_answer_that_is_no_list_of_one_each_is_told(answer: object, said: str) -> None:
    (ended,) = model(lambda _, __: answer).together(requests(b"1"))
    assert said in str(ended)


@given(
    kind=st.sampled_from(
        ["application/json", "text/plain", "multipart/form-data; boundary=x", FORM, "", "a/b"]
    ),
    body=st.one_of(
        st.binary(max_size=80), st.sampled_from([b"--x\r\n\r\n", b"{", b"\xff=1", b"null", b"a=%ff"])
    ),
    query=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
)
def test_whatever_is_sent_is_an_input_or_its_senders_fault(
    kind: str, body: bytes, query: dict[str, str]
) -> None:
    call = Call(call_id=1, invocation_id="i", remaining_ms=1e3, content_type=kind)
    call = msgspec.structs.replace(call, client_context=beside({b"x-a": b"\xff"}, query))
    assert ends(call, body) in (0, 400)


def ends(call: Call, body: bytes) -> int:
    """The status that it is refused with, 0 where it is not."""
    try:
        given_of(call, body)
    except Fault as fault:
        return fault.status
    return 0


def test_labels_are_read_in_both_of_their_forms(tmp_path: Path) -> None:
    file = tmp_path / "index_to_name.json"
    assert load_label_mapping(file) is None
    file.write_text('{"0": ["n02", "cat"], "1": "dog"}')
    assert load_label_mapping(file) == {"0": "cat", "1": "dog"}
    file.write_text('{"object_type_names": ["a", "b"]}')
    assert load_label_mapping(str(file)) == {"0": "a", "1": "b"}
    file.write_text('{"0": 5}')
    with pytest.raises(ValueError, match="no label for '0'"):
        load_label_mapping(file)


def test_classes_become_labels() -> None:
    assert map_class_to_label([[0.9, 0.1]], {"0": "a", "1": "b"}) == [{"a": 0.9, "b": 0.1}]
    assert map_class_to_label([[0.9]], {"7": "g"}, [[7]]) == [{"g": 0.9}]
    assert map_class_to_label([[0.5, 0.4]]) == [{"0": 0.5, "1": 0.4}]


def test_settings_have_their_counterparts_or_a_reason() -> None:
    told = settings_of(
        {"minWorkers": 0, "maxWorkers": 2, "batchSize": "4", "maxBatchDelay": 9, "handler": {"a": 1}}
    )
    assert told.settings == {"workers_min": 0, "workers_max": 2}
    assert [one.partition(":")[0] for one in told.left_out] == ["batchSize", "maxBatchDelay"]


def test_lines_of_properties_go_on_after_a_backslash() -> None:
    assert properties_of("# c\n! d\na = 1\r\nb={\\\n   x=2\\\n  }\nnothing\n") == {"a": "1", "b": "{x=2}"}
