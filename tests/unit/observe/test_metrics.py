"""What a scrape shows of the invocations that were counted."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from lambent.observe.exposition import Format
from lambent.observe.metrics import PIECE_LINES, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by its name and labels."""
    families = text_string_to_metric_families("".join(metrics.page(Format.TEXT)))
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
    assert seen[of("lambent_billed_seconds_total", deployment="a")] == 1000.003
    assert seen[of("lambent_run_seconds_bucket", deployment="a", le="0.001")] == 1
    assert seen[of("lambent_run_seconds_bucket", deployment="a", le="0.0025")] == 2
    assert seen[of("lambent_run_seconds_bucket", deployment="a", le="60.0")] == 2
    assert seen[of("lambent_run_seconds_bucket", deployment="a", le="+Inf")] == 3
    assert seen[of("lambent_run_seconds_count", deployment="a")] == 3
    assert seen[of("lambent_run_seconds_sum", deployment="a")] == 1000.0021
    assert seen[of("lambent_run_seconds_count", deployment="b")] == 1


def test_a_server_that_ran_nothing_can_be_scraped() -> None:
    assert "lambent_invocations_total" in "".join(Metrics().page(Format.TEXT))


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


def test_what_is_not_deployed_any_more_is_not_told() -> None:
    metrics = Metrics()
    for name in ("gone", "there"):
        metrics.invocation(name, "ok", "hot", run_s=0.001, billed_ms=1)
        metrics.wake(name, "cold", total_ms=3.0, parts_ms={"exec": 2.0})
    metrics.forget("gone")
    metrics.forget("never seen")
    assert {dict(labels)["deployment"] for _, labels in samples(metrics)} == {"there"}
    metrics.invocation("gone", "ok", "hot", run_s=0.001, billed_ms=1)
    assert samples(metrics)[of("lambent_run_seconds_count", deployment="gone")] == 1


def test_what_changes_between_two_scrapes_is_in_the_second() -> None:
    metrics = Metrics()
    for count in (1, 2):
        metrics.invocation("a", "ok", "hot", run_s=0.001, billed_ms=1)
        metrics.wake("a", "cold", total_ms=3.0, parts_ms={"exec": 2.0})
        for _ in range(2):
            seen = samples(metrics)
            for name in ("lambent_run_seconds_count", "lambent_billed_seconds_total"):
                assert seen[of(name, deployment="a")] == (count if "count" in name else count / 1e3)
            assert seen[of("lambent_wake_seconds_count", deployment="a", temperature="cold")] == count
            assert seen[of("lambent_wake_part_seconds_count", deployment="a", part="exec")] == count


def test_a_page_of_many_deployments_comes_in_pieces() -> None:
    metrics = Metrics()
    for number in range(200):
        metrics.invocation(f"d{number}", "ok", "hot", run_s=0.001, billed_ms=1)
    pieces = list(metrics.page(Format.TEXT))
    assert max(piece.count("\n") for piece in pieces) < 2 * PIECE_LINES
    assert len(pieces) > 200 * 20 / (2 * PIECE_LINES)
