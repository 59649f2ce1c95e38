"""What a server tells the tools of others: the decoder of OTLP, promtool, the parser of OpenMetrics."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.support.otlp_receiver import Got, OtlpReceiver, receiving
from tests.support.server import Reply, RunningServer, wait_until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CODE = """
import lambent
from opentelemetry import trace

app = lambent.App("seen")

@app.function()
def traced(event, context):
    if event.get("fail"):
        raise ValueError("no such digit")
    return {"traceparent": lambent.trace().traceparent, "state": lambent.trace().tracestate}

@app.function()
def by_itself(event, context):
    found = trace.get_current_span().get_span_context()
    return {
        "trace_id": f"{found.trace_id:032x}",
        "span_id": f"{found.span_id:016x}",
        "state": found.trace_state.to_header(),
    }

@app.function(concurrency=4)
async def beside_others(event, context):
    return by_itself(event, context)

@app.model()
class Talker:
    def chat(self, ask):
        yield lambent.Part(text="a word")
        yield lambent.Part(text="!", finish_reason="stop", usage=lambent.Usage(7, 2))

    def embed(self, ask):
        return lambent.Embeddings([[1.0, 2.0]] * len(ask.inputs), lambent.Usage(5, 0))

@app.function()
def asks(event, context):
    return lambent.call("traced", event).result()
"""


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def server(receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    environ = {
        "LAMBENT_OTLP_ENDPOINT": receiver.url,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
        "OTEL_SERVICE_NAME": "models",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=lab",
    }
    running = RunningServer(tmp_path_factory.mktemp("state"), environ).start()
    code = tmp_path_factory.mktemp("code") / "app.py"
    code.write_text(CODE)
    try:
        running.deploy(code)
        yield running
    finally:
        status = running.stop()
    assert status == 0, running.log()


def told(receiver: OtlpReceiver, reply: Reply) -> dict[str, Got]:
    """The spans of an invocation, once they have come."""
    invocation_id = reply.headers["lambent-invocation-id"]
    wait_until(lambda: bool(receiver.of(invocation_id)), "the spans")
    return receiver.of(invocation_id)


def test_a_call_is_a_span_in_its_callers_trace_and_user_code_is_told_of_it(
    server: RunningServer, receiver: OtlpReceiver
) -> None:
    reply = server.invoke("traced", {}, traceparent=f"00-{TRACE}-{SPAN}-03", tracestate="vendor=1")
    found = told(receiver, reply)
    whole, run = found["traced"], found["run"]
    assert (whole.trace_id, whole.parent_id) == (TRACE, SPAN)
    assert run.parent_id == whole.span_id
    assert reply.json() == {"traceparent": f"00-{TRACE}-{whole.span_id}-03", "state": "vendor=1"}
    assert reply.headers["traceresponse"] == reply.json()["traceparent"]
    assert whole.attributes["faas.name"] == "traced"
    assert whole.attributes["faas.version"] == reply.headers["lambent-revision"]
    assert whole.attributes["faas.instance"]
    assert whole.attributes["faas.trigger"] == "http"
    assert whole.attributes["faas.coldstart"] is (reply.headers["lambent-temperature"] != "hot")
    assert whole.resource["service.name"] == "models"
    assert whole.span.start_time_unix_nano <= run.span.start_time_unix_nano
    assert run.span.end_time_unix_nano <= whole.span.end_time_unix_nano
    assert {request["x-tenant"] for request in receiver.requests} == {"lab"}


def as_page(request: Any) -> dict[str, float]:
    """A request's points as the lines that Prometheus's rules make of them, histograms by their counts."""
    found: dict[str, float] = {}
    ((one,), units) = request.resource_metrics, {"s": "_seconds", "By": "_bytes", "": ""}
    for metric in one.scope_metrics[0].metrics:
        name = metric.name.replace(".", "_") + units[metric.unit]
        kind = metric.WhichOneof("data")
        if kind == "sum":
            assert (metric.sum.is_monotonic, metric.sum.aggregation_temporality) == (True, 2)
            name += "_total"
        if kind == "histogram":
            assert metric.histogram.aggregation_temporality == 2
            name += "_count"
        for point in getattr(metric, kind).data_points:
            labels = ",".join(f'{a.key}="{a.value.string_value}"' for a in point.attributes)
            value = point.count if kind == "histogram" else point.as_double
            found[f"{name}{{{labels}}}" if labels else name] = float(value)
    return found


def test_metrics_are_told_as_the_page_tells_them(server: RunningServer, receiver: OtlpReceiver) -> None:
    for _ in range(3):
        assert server.invoke("traced", {}).status == 200
    page = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in server.request("GET", "/metrics").body.decode().splitlines()
        if not line.startswith("#") and "_bucket" not in line and "_sum" not in line
    }
    counted = {line: value for line, value in page.items() if "exported" not in line and "memory" not in line}

    def is_told() -> bool:
        told = as_page(receiver.metrics[-1]) if receiver.metrics else {}
        return all(told.get(line) == value for line, value in counted.items())

    wait_until(is_told, "a request with all of it")
    assert {*page} <= {*as_page(receiver.metrics[-1])} | {line for line in page if "exported" in line}
    (last,) = receiver.metrics[-1].resource_metrics
    assert {a.key: a.value.string_value for a in last.resource.attributes}["service.name"] == "models"
    runs = next(one for one in last.scope_metrics[0].metrics if one.name == "lambent.run")
    for point in runs.histogram.data_points:
        assert sum(point.bucket_counts) == point.count
        assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
        assert 0 < point.sum < 60
        assert 0 < point.start_time_unix_nano < point.time_unix_nano


@pytest.mark.parametrize("name", ["by-itself", "beside-others"])
def test_spans_that_user_code_makes_with_opentelemetry_are_children_of_the_invocation(
    server: RunningServer, receiver: OtlpReceiver, name: str
) -> None:
    server.invoke(name, {}, traceparent="00-00000000000000000000000000000001-0000000000000001-01")
    reply = server.invoke(name, {}, traceparent=f"00-{TRACE}-{SPAN}-03", tracestate="vendor=1")
    whole = told(receiver, reply)[name]
    assert reply.json() == {"trace_id": TRACE, "span_id": whole.span_id, "state": "vendor=1"}


def test_a_cold_start_has_its_wait_and_its_wake_in_parts(
    server: RunningServer, receiver: OtlpReceiver
) -> None:
    assert server.cli("chill", "traced").returncode == 0
    found = told(receiver, server.invoke("traced", {}))
    assert found["traced"].attributes["faas.coldstart"] is True
    assert found["queue"].parent_id == found["wake"].parent_id == found["traced"].span_id
    parts = [got for name, got in found.items() if name.startswith("wake.")]
    assert {got.parent_id for got in parts} == {found["wake"].span_id}
    assert "wake.init" in found


def test_a_function_that_calls_another_is_the_parent_of_its_span(
    server: RunningServer, receiver: OtlpReceiver
) -> None:
    reply = server.invoke("asks", {})
    asks = told(receiver, reply)["asks"]
    own = reply.json()["traceparent"]
    wait_until(lambda: own[36:52] in {got.span_id for got in receiver.spans}, "the other span")
    (called,) = [got for got in receiver.spans if got.span_id == own[36:52]]
    assert (called.trace_id, called.parent_id) == (asks.trace_id, asks.span_id)
    assert called.attributes["faas.trigger"] == "other"


def test_a_failure_is_an_error_with_its_type(server: RunningServer, receiver: OtlpReceiver) -> None:
    whole = told(receiver, server.invoke("traced", {"fail": True}))["traced"]
    assert whole.attributes["error.type"] == "ValueError"
    assert (whole.span.status.code, whole.span.status.message) == (2, "no such digit")


@pytest.mark.parametrize("stream", [True, False])
def test_a_model_that_talks_tells_its_tokens_in_the_words_of_genai(
    server: RunningServer, receiver: OtlpReceiver, stream: object
) -> None:
    asked = {"model": "talker", "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
    reply = server.request("POST", "/v1/chat/completions", json.dumps(asked).encode())
    assert (reply.status, b"a word" in reply.body) == (200, True)
    said = told(receiver, reply)["talker"].attributes
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.request.model"] == "talker"
    assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.output_tokens"]) == (7, 2)


def test_vectors_tell_their_tokens_too(server: RunningServer, receiver: OtlpReceiver) -> None:
    asked = {"model": "talker", "input": "a word"}
    reply = server.request("POST", "/v1/embeddings", json.dumps(asked).encode())
    said = told(receiver, reply)["talker"].attributes
    assert (said["gen_ai.operation.name"], said["gen_ai.usage.input_tokens"]) == ("embeddings", 5)


def test_what_was_accepted_for_later_is_in_the_trace_of_who_asked(
    server: RunningServer, receiver: OtlpReceiver
) -> None:
    reply = server.invoke("traced", {}, Prefer="respond-async", traceparent=f"00-{TRACE}-{SPAN}-01")
    whole = told(receiver, reply)["traced"]
    assert (whole.trace_id, whole.parent_id) == (TRACE, SPAN)
    assert whole.attributes["faas.trigger"] == "pubsub"


def test_who_does_not_record_is_not_recorded(server: RunningServer, receiver: OtlpReceiver) -> None:
    silent = server.invoke("traced", {}, traceparent=f"00-{TRACE}-{SPAN}-00")
    assert silent.json()["traceparent"].endswith("-00")
    told(receiver, server.invoke("traced", {}))
    assert not receiver.of(silent.headers["lambent-invocation-id"])


def test_a_receiver_that_fails_harms_no_call_and_is_asked_again(
    server: RunningServer, receiver: OtlpReceiver
) -> None:
    with receiver.lock:
        receiver.answers.extend([(503, {"Retry-After": "0"}, b""), (503, {"Retry-After": "0"}, b"")])
    reply = server.invoke("traced", {})
    assert reply.status == 200
    assert told(receiver, reply)


def scrape(server: RunningServer, accept: str) -> Reply:
    reply = server.request("GET", "/metrics", Accept=accept)
    assert reply.status == 200
    return reply


def test_a_servers_metrics_are_openmetrics_for_who_asks_for_that(server: RunningServer) -> None:
    server.invoke("traced", {})
    reply = scrape(server, "application/openmetrics-text; version=1.0.0, text/plain; q=0.5")
    assert reply.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(reply.body.decode())}
    (sent,) = families["lambent_exported_invocations"].samples
    assert (sent.labels, sent.value >= 1) == ({"outcome": "sent"}, True)
    told_of = {sample.labels["deployment"] for sample in families["lambent_workers"].samples}
    assert told_of == {"traced", "by-itself", "beside-others", "asks", "talker"}


@pytest.mark.skipif(which("promtool") is None, reason="Debian has promtool in its package prometheus")
def test_promtool_finds_no_fault_in_a_servers_metrics(server: RunningServer) -> None:
    page = scrape(server, "*/*")
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page.body, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
def test_the_probes_need_no_key_and_are_not_kept(server: RunningServer, path: str) -> None:
    reply = server.request("GET", path, key="")
    assert (reply.status, reply.headers["cache-control"]) == (200, "no-store")
    assert json.loads(reply.body)["status"] in ("ok", "ready")


def test_what_is_waiting_is_sent_before_the_server_ends(receiver: OtlpReceiver, tmp_path: Path) -> None:
    environ = {"LAMBENT_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "900000"}
    other = RunningServer(tmp_path / "state", environ).start()
    (tmp_path / "one.py").write_text("def handler(event, context):\n    return 1\n")
    other.deploy(f"{tmp_path / 'one.py'}:handler", "--name", "last")
    reply = other.invoke("last", {})
    assert not receiver.of(reply.headers["lambent-invocation-id"])
    assert other.stop() == 0
    assert receiver.of(reply.headers["lambent-invocation-id"])


def test_a_wish_that_cannot_be_met_is_said_in_one_line(tmp_path: Path) -> None:
    environ = {"LAMBENT_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with pytest.raises(AssertionError, match=r"lambent up: OTEL_EXPORTER_OTLP_PROTOCOL=grpc"):
        RunningServer(tmp_path / "state", environ).start()
