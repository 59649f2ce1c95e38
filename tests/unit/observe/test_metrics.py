"""What a scrape shows of the invocations that were counted."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from lambent.observe.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by its name and labels."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_invocations_are_counted_by_their_end_and_their_time_by_deployment() -> None:
    metrics = Metrics()
    metrics.invocation("a", "ok", "hot", run_s=0.001, billed_ms=1)
    metrics.invocation("a", "ok", "hot", run_s=0.0011, billed_ms=2)
    metrics.invocation("a", "failed", "cold", run_s=1000.0, billed_ms=1_000_000)
    metrics.invocation("b", "ok", "hot", run_s=2.0, billed_ms=2000)
    seen = samples(metrics)
    assert seen[of("lambent_invocations_total", deployment="a", status="ok", temperature="hot")] == 2
    assert seen[of("lambent_invocations_total", deployment="a", status="failed", temperature="cold")] == 1
    assert seen[of("lambent_billed_milliseconds_total", deployment="a")] == 1_000_003
    assert seen[of("lambent_run_seconds_bucket", deployment="a", le="0.001")] == 1
    assert seen[of("lambent_run_seconds_bucket", deployment="a", le="0.0025")] == 2
    assert seen[of("lambent_run_seconds_bucket", deployment="a", le="60.0")] == 2
    assert seen[of("lambent_run_seconds_bucket", deployment="a", le="+Inf")] == 3
    assert seen[of("lambent_run_seconds_count", deployment="a")] == 3
    assert seen[of("lambent_run_seconds_sum", deployment="a")] == 1000.0021
    assert seen[of("lambent_run_seconds_count", deployment="b")] == 1


def test_a_server_that_ran_nothing_can_be_scraped() -> None:
    assert "lambent_invocations_total" in Metrics().render().decode()


def test_the_parts_of_wakes_are_histograms_by_deployment() -> None:
    metrics = Metrics()
    metrics.wake("a", "primed", total_ms=3.0, parts_ms={"restore": 2.0, "other": 1.0})
    metrics.wake("a", "primed", total_ms=9.0, parts_ms={"restore": 8.0, "other": 1.0})
    metrics.first_call("a", parts_ms={"queue": 0.5, "first_run": 40.0})
    seen = samples(metrics)
    assert seen[of("lambent_wake_seconds_count", deployment="a", temperature="primed")] == 2
    assert seen[of("lambent_wake_part_seconds_sum", deployment="a", part="restore")] == 0.01
    assert seen[of("lambent_wake_part_seconds_bucket", deployment="a", part="restore", le="0.001")] == 0
    assert seen[of("lambent_wake_part_seconds_bucket", deployment="a", part="restore", le="0.01")] == 2
    assert seen[of("lambent_wake_part_seconds_sum", deployment="a", part="queue")] == 0.0005
    assert seen[of("lambent_wake_part_seconds_count", deployment="a", part="first_run")] == 1


def test_the_wakes_of_what_is_not_deployed_any_more_are_not_told() -> None:
    metrics = Metrics()
    for name in ("gone", "there"):
        metrics.wake(name, "cold", total_ms=3.0, parts_ms={"exec": 2.0})
    metrics.forget("gone")
    metrics.forget("never seen")
    told = {labels for name, labels in samples(metrics) if name.startswith("lambent_wake")}
    assert {dict(labels)["deployment"] for labels in told} == {"there"}
