"""OpenTelemetry's environment variables, and what is made of them."""

from __future__ import annotations

import pytest

from lambent.core.errors import InvalidSpec
from lambent.core.telemetry import OTLP, Telemetry, read_metrics_telemetry, read_telemetry

BASE = {OTLP + "ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {OTLP + "ENDPOINT": ""},
        BASE | {"OTEL_SDK_DISABLED": "True"},
        BASE | {"OTEL_TRACES_EXPORTER": "none"},
        BASE | {"OTEL_TRACES_SAMPLER": "always_off"},
    ],
)
def test_nothing_is_exported_unless_it_is_asked_for(environ: dict[str, str]) -> None:
    assert read_telemetry(environ) is None


@pytest.mark.parametrize(
    ("environ", "endpoint", "url"),
    [
        (BASE, "", "http://collector:4318/v1/traces"),
        ({OTLP + "ENDPOINT": "https://c/otlp/"}, "", "https://c/otlp/v1/traces"),
        (BASE | {OTLP + "TRACES_ENDPOINT": "http://other:1/as/it/is"}, "", "http://other:1/as/it/is"),
        (BASE, "http://flag:4318", "http://flag:4318/v1/traces"),
        ({}, "http://flag:4318/", "http://flag:4318/v1/traces"),
    ],
)
def test_the_url_is_found_as_the_specification_of_the_exporter_says(
    environ: dict[str, str], endpoint: str, url: str
) -> None:
    found = read_telemetry(environ, endpoint=endpoint)
    assert found is not None
    assert found.url == url


def test_what_is_not_said_has_the_defaults_of_the_specification() -> None:
    found = read_telemetry(BASE)
    assert found == Telemetry(
        url="http://collector:4318/v1/traces",
        timeout_s=10.0,
        every_s=5.0,
        batch_max=512,
        resource={"service.name": "lambent"},
    )


def test_everything_may_be_said_and_what_is_said_for_traces_wins() -> None:
    found = read_telemetry(
        BASE
        | {
            OTLP + "HEADERS": "a=1",
            OTLP + "TRACES_HEADERS": 'Authorization=Bearer%20x, other = "2" ,',
            OTLP + "TIMEOUT": "2500",
            OTLP + "COMPRESSION": "gzip",
            OTLP + "CERTIFICATE": "/etc/ca.pem",
            OTLP + "TRACES_PROTOCOL": "http/protobuf",
            "OTEL_RESOURCE_ATTRIBUTES": "service.name=ignored,deployment.environment.name=lab",
            "OTEL_SERVICE_NAME": "models",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_BSP_MAX_QUEUE_SIZE": "64",
            "OTEL_TRACES_EXPORTER": "otlp",
        }
    )
    assert found == Telemetry(
        url="http://collector:4318/v1/traces",
        headers={"authorization": "Bearer x", "other": "2"},
        timeout_s=2.5,
        is_compressed=True,
        certificate="/etc/ca.pem",
        resource={"service.name": "models", "deployment.environment.name": "lab"},
        every_s=0.1,
        queue_max=64,
        batch_max=64,
    )


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({OTLP + "PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
        ({OTLP + "COMPRESSION": "zstd"}, "COMPRESSION=zstd"),
        ({OTLP + "HEADERS": "nonsense"}, "'nonsense' is no NAME=VALUE"),
        ({OTLP + "TIMEOUT": "-1"}, "TIMEOUT=-1"),
        ({OTLP + "ENDPOINT": "collector:4318"}, "no http or https URL"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, "OTEL_TRACES_SAMPLER=traceidratio"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "many"}, "OTEL_BSP_MAX_QUEUE_SIZE=many"),
        ({"OTEL_BSP_SCHEDULE_DELAY": "9" * 4400}, "OTEL_BSP_SCHEDULE_DELAY=9"),
    ],
)
def test_what_cannot_be_done_is_said_by_name(environ: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidSpec, match=named):
        read_telemetry(BASE | environ)


@pytest.mark.parametrize(
    ("environ", "endpoint", "url"),
    [
        (BASE, "", "http://collector:4318/v1/metrics"),
        ({}, "http://here:1/", "http://here:1/v1/metrics"),
        (BASE | {OTLP + "METRICS_ENDPOINT": "http://m/x"}, "", "http://m/x"),
        ({OTLP + "METRICS_ENDPOINT": "http://m/x"}, "", "http://m/x"),
    ],
)
def test_metrics_go_where_the_variables_say(environ: dict[str, str], endpoint: str, url: str) -> None:
    found = read_metrics_telemetry(environ, endpoint=endpoint)
    assert found is not None
    assert (found.url, found.every_s) == (url, 60.0)


def test_each_signal_may_be_sent_without_the_other() -> None:
    assert read_metrics_telemetry(BASE | {"OTEL_METRICS_EXPORTER": "none"}) is None
    assert read_metrics_telemetry(BASE | {"OTEL_SDK_DISABLED": "true"}) is None
    assert read_metrics_telemetry({OTLP + "TRACES_ENDPOINT": "http://t/x"}) is None
    assert read_metrics_telemetry(BASE | {"OTEL_TRACES_EXPORTER": "none"}) is not None
    assert read_metrics_telemetry(BASE | {"OTEL_TRACES_SAMPLER": "always_off"}) is not None
    assert read_telemetry(BASE | {"OTEL_METRICS_EXPORTER": "none"}) is not None


def test_metrics_have_variables_of_their_own() -> None:
    found = read_metrics_telemetry(
        BASE
        | {
            "OTEL_METRIC_EXPORT_INTERVAL": "2500",
            OTLP + "METRICS_HEADERS": "a=b",
            OTLP + "HEADERS": "a=c",
            OTLP + "METRICS_TEMPORALITY_PREFERENCE": "Cumulative",
        }
    )
    assert found is not None
    assert (found.every_s, found.headers) == (2.5, {"a": "b"})
    with pytest.raises(InvalidSpec, match="METRICS_TEMPORALITY_PREFERENCE=delta"):
        read_metrics_telemetry(BASE | {OTLP + "METRICS_TEMPORALITY_PREFERENCE": "delta"})
