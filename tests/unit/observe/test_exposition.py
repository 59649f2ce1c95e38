"""Both formats of a page of metrics, as the parsers of others read them, and which of them is asked for."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from shutil import which

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from prometheus_client.samples import Sample

from lambent.observe.exposition import Family, Format, Kind, asked_for, sample
from lambent.observe.metrics import MemoryLevel, Metrics

# What Prometheus 2.42 and 3.5 send.
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


class Still:
    """Levels that do not change."""

    def workers(self) -> Iterator[tuple[str, int]]:
        yield "a", 2

    def queued(self) -> Iterator[tuple[str, int]]:
        yield "a", 0

    def memory(self) -> MemoryLevel:
        return MemoryLevel(budget_bytes=1 << 30, used_bytes=12345, price=0.25)


def full_page(format_: Format) -> str:
    metrics = Metrics()
    metrics.watch(Still())
    for name in ("a", 'odd "name"\\\n{}'):
        metrics.invocation(name, "ok", "hot", run_s=0.001, billed_ms=1)
        metrics.wake(name, "primed", total_ms=3.0, parts_ms={"restore": 2.0, "other": 1.0})
    return "".join(metrics.page(format_))


def test_openmetrics_own_parser_reads_the_page_with_its_types_and_units() -> None:
    families = {family.name: family for family in read_openmetrics(full_page(Format.OPENMETRICS))}
    assert families["lambent_invocations"].type == "counter"
    assert families["lambent_run_seconds"].type == "histogram"
    assert families["lambent_memory_used_bytes"].unit == "bytes"
    timed = [name for name in families if name.endswith("_seconds")]
    assert {families[name].unit for name in timed} == {"seconds"}
    assert timed


def test_both_formats_have_the_same_samples() -> None:
    text = {sample for family in read_text(full_page(Format.TEXT)) for sample in map(key, family.samples)}
    opened = read_openmetrics(full_page(Format.OPENMETRICS))
    assert text == {sample for family in opened for sample in map(key, family.samples)}
    assert 'odd "name"\\\n{}' in {dict(labels).get("deployment") for _, labels, _ in text}


def key(one: Sample) -> tuple[str, frozenset[tuple[str, str]], float]:
    return one.name, frozenset(one.labels.items()), one.value


@pytest.mark.skipif(which("promtool") is None, reason="Debian has promtool in its package prometheus")
def test_promtool_finds_no_fault_in_names_units_and_text() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=full_page(Format.TEXT),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("accept", "format_"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/plain", Format.TEXT),
        (PROMETHEUS_2, Format.OPENMETRICS),
        (PROMETHEUS_3, Format.OPENMETRICS),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ('Application/OpenMetrics-Text; version="1.0.0"', Format.OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0;q=0", Format.TEXT),
        ("application/openmetrics-text;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.5", Format.TEXT),
        ("application/openmetrics-text;version=7.0.0,text/plain;q=0.1", Format.TEXT),
        ("application/openmetrics-text;q=nonsense", Format.TEXT),
        ("nonsense", Format.TEXT),
    ],
)
def test_a_scraper_gets_the_format_that_it_would_rather_have(accept: str, format_: Format) -> None:
    assert asked_for(accept) is format_


def test_the_head_of_a_counter_names_its_samples_in_the_old_format_and_its_family_in_the_new() -> None:
    family = Family("x_seconds", Kind.COUNTER, "Of\nlines.", "seconds")
    assert family.head(Format.TEXT) == "# HELP x_seconds_total Of\\nlines.\n# TYPE x_seconds_total counter\n"
    opened = "# HELP x_seconds Of\\nlines.\n# TYPE x_seconds counter\n# UNIT x_seconds seconds\n"
    assert family.head(Format.OPENMETRICS) == opened
    assert sample("x_seconds_total", {}, 1) == "x_seconds_total 1.0\n"
