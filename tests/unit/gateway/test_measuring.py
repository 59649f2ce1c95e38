"""Metrics on their way: every so often, once more at the end, and whatever their receiver does."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from lambent.core.points import Histogram, Kind, Measured, Number
from lambent.core.telemetry import Telemetry
from lambent.gateway.exporting import Said
from lambent.gateway.measuring import PIECE, MetricsExporter
from lambent.wire.otlp import Encoder
from tests.support.patience import PATIENT_S


class Receiver:
    """Answers from a list, then 200; remembers what it was told."""

    def __init__(self, answers: Sequence[Said] = ()) -> None:
        self.answers = list(answers)
        self.told: list[Any] = []
        self.enough = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self, request: bytes) -> Said:
        (resource,) = ExportMetricsServiceRequest.FromString(request).resource_metrics
        self.told.append(resource.scope_metrics[0].metrics)
        if len(self.told) == 3:
            self._loop.call_soon_threadsafe(self.enough.set)
        return self.answers.pop(0) if self.answers else Said(200)


def measured() -> Iterator[Measured]:
    many = (Number({"n": str(n)}, n / 2) for n in range(2 * PIECE + 1))
    yield Measured("lambent.many", Kind.COUNTER, "Many.", "seconds", many)
    runs = Histogram({"deployment": "f"}, (0.1, 1.0), (1, 0, 2), 6.5)
    yield Measured("lambent.run", Kind.HISTOGRAM, "Runs.", "seconds", iter([runs]))
    yield Measured("lambent.used", Kind.GAUGE, "Used.", "bytes", iter([Number({}, 7)]))
    yield Measured("lambent.none", Kind.GAUGE, "Nothing is there.", "", iter([]))


def exporter(receiver: Receiver, every_s: float) -> MetricsExporter:
    times = itertools.count(5)
    return MetricsExporter(
        Telemetry(url="http://there/v1/metrics", every_s=every_s),
        measured,
        unix_ns=lambda: next(times),
        encoder=Encoder({"service.name": "s"}, name="lambent", version="1"),
        post=receiver,
    )


def test_the_end_tells_once_more_what_there_is() -> None:
    async def story() -> None:
        receiver = Receiver()
        one = exporter(receiver, 3600.0)
        async with asyncio.timeout(PATIENT_S), asyncio.TaskGroup() as tasks:
            tasks.create_task(one.run())
            await one.settle()
        ((many, runs, used),) = receiver.told
        assert [point.as_double for point in many.sum.data_points] == [n / 2 for n in range(2 * PIECE + 1)]
        assert [point.attributes[0].value.string_value for point in many.sum.data_points[:2]] == ["0", "1"]
        assert (many.name, many.unit, many.description, many.sum.is_monotonic) == (
            "lambent.many", "s", "Many.", True,
        )  # fmt: skip
        (point,) = runs.histogram.data_points
        assert (point.count, point.sum, list(point.bucket_counts)) == (3, 6.5, [1, 0, 2])
        assert list(point.explicit_bounds) == [0.1, 1.0]
        assert (point.start_time_unix_nano, point.time_unix_nano) == (5, 6)
        (level,) = used.gauge.data_points
        assert (level.as_double, used.unit) == (7.0, "By")

    asyncio.run(story())


def test_a_receiver_that_fails_is_told_again_the_next_time_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        receiver = Receiver([Said(0, b"refused"), Said(500)])
        one = exporter(receiver, 0.001)
        async with asyncio.timeout(PATIENT_S), asyncio.TaskGroup() as tasks:
            tasks.create_task(one.run())
            await receiver.enough.wait()
            await one.settle()
        assert len(receiver.told) >= 3

    asyncio.run(story())
    assert [record.message for record in caplog.records].count("metrics_not_exported") == 1
