"""Spans on their way: batches, bounds, and receivers that refuse, are slow, or are not there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lambent.core.errors import QueueFull
from lambent.core.invocation import Invocation, new_id
from lambent.core.telemetry import Telemetry
from lambent.core.tracing import Trace
from lambent.gateway import exporting
from lambent.gateway.exporting import Exporter, Said
from lambent.gateway.posting import ANSWER_BYTES_MAX, HttpPost
from lambent.wire.otlp import Encoder
from tests.support.otlp_receiver import receiving
from tests.support.patience import PATIENT_S
from tests.support.virtual_time import ManualClock
from tests.unit.gateway.asgi import outcome

TRACE = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "00")


@dataclass
class Receiver:
    """Answers from a list, then 200; remembers how many server spans each request had."""

    answers: list[Said] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    gate: threading.Event | None = None  # what it waits for before its answer
    answered: int = 0

    def __call__(self, request: bytes) -> Said:
        (resource,) = ExportTraceServiceRequest.FromString(request).resource_spans
        spans = resource.scope_spans[0].spans
        self.batches.append(sum(any(a.key == "faas.name" for a in span.attributes) for span in spans))
        if self.gate is not None:
            self.gate.wait(PATIENT_S)
        self.answered += 1
        return self.answers.pop(0) if self.answers else Said(200)


@dataclass
class Story:
    """An exporter with its receiver, and what was counted."""

    telemetry: Telemetry
    receiver: Receiver
    counted: dict[str, int] = field(default_factory=dict)

    def exported(self, outcome: str, count: int) -> None:
        self.counted[outcome] = self.counted.get(outcome, 0) + count

    def exporter(self) -> Exporter:
        return Exporter(
            self.telemetry,
            ManualClock(),
            unix_ns=lambda: 1_700_000_000 * 10**9,
            encoder=Encoder({}, name="lambent", version="0"),
            post=self.receiver,
            counts=self,
        )


def tell(
    answers: Sequence[Said], story: Callable[[Exporter], Awaitable[None]], **settings: float
) -> tuple[Receiver, dict[str, int]]:
    """Run a story with an exporter that never sends by time, and let it settle."""
    terms = {"url": "http://x/v1/traces", "every_s": 1000.0, **settings}
    told = Story(msgspec.convert(terms, Telemetry), Receiver(list(answers)))

    async def play() -> None:
        exporter = told.exporter()
        running = asyncio.create_task(exporter.run())
        await story(exporter)
        await exporter.settle()
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(play())
    return told.receiver, told.counted


def invocation(trace: Trace | None = None) -> Invocation:
    return Invocation(id=new_id(), project="default", deployment="digits", body=b"", trace=trace)


def some(count: int) -> Callable[[Exporter], Awaitable[None]]:
    async def story(exporter: Exporter) -> None:
        for _ in range(count):
            exporter.answered(invocation(), outcome())

    return story


def test_what_ended_is_sent_in_batches_and_all_of_it_before_the_server_stops() -> None:
    receiver, counted = tell([], some(7), batch_max=3)
    assert receiver.batches == [3, 3, 1]
    assert counted == {"sent": 7}


def test_a_full_batch_does_not_wait_for_its_time() -> None:
    async def story(exporter: Exporter) -> None:
        await some(3)(exporter)
        await until(lambda: len(receiver_of(exporter).batches) == 1)

    receiver, _ = tell([], story, batch_max=3)
    assert receiver.batches == [3]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENT_S):
        while True:
            if holds():
                return
            await asyncio.sleep(0.001)


def receiver_of(exporter: Exporter) -> Receiver:
    receiver = exporter._post._post  # noqa: SLF001 - what the story has put there
    assert isinstance(receiver, Receiver)
    return receiver


def test_a_queue_that_is_full_takes_no_more_and_says_how_many_it_did_not_take() -> None:
    receiver, counted = tell([], some(9), queue_max=4, batch_max=4)
    assert receiver.batches == [4]
    assert counted == {"queue_full": 5, "sent": 4}


def test_a_receiver_that_is_away_or_busy_is_asked_again_and_nothing_is_told_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporting, "RETRY_S", 0.0)

    async def story(exporter: Exporter) -> None:
        await some(2)(exporter)
        await until(lambda: len(receiver_of(exporter).batches) == 4)

    answers = [Said(0, b"connection refused"), Said(503), Said(429, b"", 0.0)]
    receiver, counted = tell(answers, story, batch_max=2)
    assert receiver.batches == [2, 2, 2, 2]
    assert counted == {"sent": 2}


def test_a_receiver_that_stays_away_loses_a_batch_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(exporting, "RETRY_S", 0.0)

    async def story(exporter: Exporter) -> None:
        await some(2)(exporter)
        await until(lambda: len(receiver_of(exporter).batches) == exporting.TRIES_MAX)
        await some(2)(exporter)
        await until(lambda: len(receiver_of(exporter).batches) == exporting.TRIES_MAX + 1)

    receiver, counted = tell([Said(0, b"refused")] * exporting.TRIES_MAX, story, batch_max=2)
    assert receiver.batches == [2] * (exporting.TRIES_MAX + 1)
    assert counted == {"unreachable": 2, "sent": 2}
    assert [record.message for record in caplog.records] == ["spans_not_exported"]


def test_a_receiver_that_does_not_end_its_answer_keeps_no_server_from_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporting, "SETTLE_S", 0.01)
    gate = threading.Event()

    async def story(exporter: Exporter) -> None:
        receiver_of(exporter).gate = gate
        await some(2)(exporter)
        await until(lambda: bool(receiver_of(exporter).batches))

    receiver, _ = tell([], story, batch_max=2)
    assert receiver.answered == 0
    gate.set()


def test_a_receiver_that_does_not_end_its_answer_is_asked_again_once_it_has(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(exporting, "RETRY_S", 0.0)
    monkeypatch.setattr(exporting, "LONGER_S", 0.0)
    gate = threading.Event()

    async def story(exporter: Exporter) -> None:
        receiver = receiver_of(exporter)
        receiver.gate = gate
        await some(2)(exporter)
        await until(lambda: len(caplog.records) == 1)  # it is not asked again meanwhile
        assert receiver.batches == [2]
        gate.set()
        await until(lambda: receiver.answered == 1)
        while len(receiver.batches) == 1:
            await some(2)(exporter)
            await asyncio.sleep(0.001)

    tell([], story, batch_max=2, timeout_s=0.01)


def test_a_receiver_that_refuses_is_not_asked_again() -> None:
    receiver, counted = tell([Said(400, b"no")], some(2), batch_max=2)
    assert (receiver.batches, counted) == ([2], {"refused": 2})


def test_who_does_not_record_its_trace_is_not_recorded() -> None:
    async def story(exporter: Exporter) -> None:
        exporter.answered(invocation(TRACE), outcome())
        exporter.answered(invocation(msgspec.structs.replace(TRACE, flags="01")), outcome())
        exporter.refused(invocation(TRACE), "r1", QueueFull("full", retry_after_s=1.0), since_s=0.0)
        exporter.refused(invocation(), "r1", QueueFull("full", retry_after_s=1.0), since_s=0.0)

    receiver, counted = tell([], story)
    assert (receiver.batches, counted) == ([2], {"sent": 2})


def test_a_post_says_what_came_back_and_why_nothing_did() -> None:
    with receiving() as receiver:
        telemetry = Telemetry(url=receiver.url + "/v1/traces", headers={"x-key": "k"}, is_compressed=True)
        post = HttpPost(telemetry, user_agent="Lambent/0")
        assert post(Encoder({}, name="l", version="0").request([])).status == 200
        (seen,) = receiver.requests
        assert seen["path"] == "/v1/traces"
        assert (seen["x-key"], seen["user-agent"]) == ("k", "Lambent/0")
        assert (seen["content-type"], seen["content-encoding"]) == ("application/x-protobuf", "gzip")
        receiver.answers.append((307, {"Location": "/elsewhere"}, b""))
        assert post(b"").status == 307
        receiver.answers.append((429, {"Retry-After": "7"}, b"x" * 100_000))
        said = post(b"")
        assert (said.status, said.retry_after_s, len(said.body)) == (429, 7.0, ANSWER_BYTES_MAX)
        receiver.answers.append((503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b""))
        assert post(b"").retry_after_s is None
    said = HttpPost(Telemetry(url="http://127.0.0.1:1/v1/traces"), user_agent="Lambent/0")(b"")
    assert said.status == 0
    assert b"refused" in said.body
