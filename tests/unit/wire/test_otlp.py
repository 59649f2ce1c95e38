"""What we write as OTLP, read by opentelemetry-proto."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from lambent.core.spans import Span, SpanKind
from lambent.wire.otlp import KNOWN_MAX, TEXT_BYTES_MAX, Encoder, rejected

ids = st.binary(min_size=8, max_size=8).map(bytes.hex)
times = st.integers(min_value=0, max_value=2**64 - 1)
texts = st.text(max_size=300)
values = st.one_of(texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
spans = st.builds(
    Span,
    trace_id=st.binary(min_size=16, max_size=16).map(bytes.hex),
    span_id=ids,
    parent_id=st.one_of(st.just(""), ids),
    state=st.sampled_from(["", "a=1,b=2"]),
    flags=st.sampled_from([0x103, 0x303]),
    name=texts,
    kind=st.sampled_from(SpanKind),
    start_unix_ns=times,
    end_unix_ns=times,
    attributes=st.dictionaries(texts, values, max_size=5),
    shared=st.lists(st.tuples(texts, texts), max_size=4).map(tuple),
    error=st.one_of(st.none(), texts),
)


def encoder() -> Encoder:
    return Encoder({"service.name": "lambent", "process.pid": 12}, name="lambent", version="0.1")


@given(st.lists(spans, max_size=5))
def test_whatever_a_span_says_is_read_as_it_was_said(sent: list[Span]) -> None:
    writer = encoder()
    for _ in range(2):  # the second time, attributes are known
        request = ExportTraceServiceRequest.FromString(writer.request([writer.written(sent)]))
        (of_resource,) = request.resource_spans
        assert {one.key for one in of_resource.resource.attributes} == {"service.name", "process.pid"}
        (scoped,) = of_resource.scope_spans
        assert (scoped.scope.name, scoped.scope.version) == ("lambent", "0.1")
        assert scoped.schema_url.startswith("https://opentelemetry.io/schemas/")
        for read, span in zip(scoped.spans, sent, strict=True):
            assert read.trace_id.hex() == span.trace_id
            assert read.span_id.hex() == span.span_id
            assert read.parent_span_id.hex() == span.parent_id
            assert (read.trace_state, read.flags, read.name) == (span.state, span.flags, span.name)
            assert read.kind == span.kind
            assert (read.start_time_unix_nano, read.end_time_unix_nano) == (
                span.start_unix_ns,
                span.end_unix_ns,
            )
            said = [(one.key, getattr(one.value, one.value.WhichOneof("value"))) for one in read.attributes]
            shared = [(key, value) for key, value in span.shared if value]
            assert said == [*span.attributes.items(), *shared]
            assert [type(value) for _, value in said[: len(span.attributes)]] == [
                type(value) for value in span.attributes.values()
            ]
            assert (read.status.code, read.status.message) == (
                (0, "") if span.error is None else (2, span.error)
            )


def test_a_text_is_cut_between_characters_and_half_a_character_is_replaced() -> None:
    span = Span(
        trace_id="0" * 31 + "1", span_id="0" * 15 + "1", parent_id="", state="", flags=3,
        name="é" * TEXT_BYTES_MAX, kind=SpanKind.SERVER, start_unix_ns=1, end_unix_ns=2, error="\ud800",
    )  # fmt: skip
    request = ExportTraceServiceRequest.FromString(encoder().request([encoder().written([span])]))
    (read,) = request.resource_spans[0].scope_spans[0].spans
    assert read.name == "é" * (TEXT_BYTES_MAX // 2)
    assert read.status.message == "?"


def test_what_is_kept_of_attributes_is_bounded() -> None:
    writer = encoder()
    many = [
        Span(
            trace_id="0" * 31 + "1", span_id="0" * 15 + "1", parent_id="", state="", flags=3, name="x",
            kind=SpanKind.SERVER, start_unix_ns=1, end_unix_ns=2, shared=(("faas.name", str(number)),),
        )
        for number in range(KNOWN_MAX + 1)
    ]  # fmt: skip
    first = writer.written(many)
    assert writer.written(many) == first


def test_a_receiver_may_take_a_part_of_it_or_answer_nonsense() -> None:
    response = ExportTraceServiceResponse()
    assert rejected(response.SerializeToString()) == 0
    response.partial_success.rejected_spans = 300
    response.partial_success.error_message = "too many"
    assert rejected(response.SerializeToString()) == 300
    assert rejected(b'{"partialSuccess": {}}') == 0


@given(st.binary(max_size=64))
def test_no_answer_of_a_receiver_harms(answer: bytes) -> None:
    assert rejected(answer) >= 0
