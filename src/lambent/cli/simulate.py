"""`simulate`: what would a keep-alive policy have cost on this trace?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from lambent.cli.options import json_option
from lambent.cli.output import dollars, duration, emit_json, table
from lambent.cli.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambent.core.comparison import Comparison
    from lambent.core.outcomes import Outcome

POLICIES: Final = ("fixed", "hybrid", "gdsf", "forecast", "economic")


@click.command()
@click.argument("trace", type=click.Path(path_type=Path))
@click.option(
    "--policy", "policies", multiple=True, type=click.Choice(POLICIES), help="Compare these; all by default."
)
@click.option(
    "--budget", metavar="SIZE", help="Also replay a server's thermostat under so much memory, as 64GiB."
)
@click.option("--memory", type=click.Path(path_type=Path), help="A CSV with the memory of each app.")
@click.option("--chart", type=click.Path(path_type=Path), help="Draw it into this .html or .svg file.")
@json_option
def simulate(
    trace: Path,
    policies: tuple[str, ...],
    budget: str | None,
    memory: Path | None,
    chart: Path | None,
    *,
    as_json: bool,
) -> None:
    """Replay a trace of invocations and compare keep-alive policies.

    TRACE is a CSV, which may be gzip'd: a day of Azure Functions 2019, Azure Functions 2021, or one's own
    with the columns deployment, timestamp and duration. It may also be a server's state directory: then its
    usage journal is replayed. The first half is learned from, the second is judged. Needs no server.

    The policies are those of `lambent up --keep-policy`; forecast is economic with a revision kept as a whole
    or not at all.
    """
    from lambent.cli.chart import write_chart
    from lambent.client.traces import read_trace
    from lambent.core.comparison import Policy, compare
    from lambent.core.errors import CallerFault
    from lambent.core.outcomes import Anatomy
    from lambent.core.settings import parse_size

    if chart is not None and chart.suffix.lower() not in {".html", ".htm", ".svg"}:
        raise click.BadParameter(f"{chart} ends neither in .html nor in .svg", param_hint="--chart")
    budget_bytes = parse_size(budget) if budget else None
    with Progress("reading"):
        read = read_trace(trace, memory)
    wanted = [Policy(name) for name in policies or POLICIES]
    if read.ticks < 2:
        raise CallerFault(f"{trace} is too short: it has no two halves")
    with Progress(f"replaying {read.invocations:,} invocations"):
        compared = compare(read, wanted, Anatomy(), budget_bytes=budget_bytes)
    if chart is not None:
        write_chart(chart, compared)
    if as_json:
        emit_json(compared)
        return
    _print_rows(compared)


def _print_rows(compared: Comparison) -> None:
    columns: dict[str, Callable[[Outcome], str]] = {
        "COLD STARTS": lambda seen: f"{seen.cold_starts:,}",
        "COLD %": lambda seen: f"{seen.cold_percent:.4f}",
        "WASTED GB-S": lambda seen: f"{seen.wasted_gb_s:,.0f}",
        "WAKE S": lambda seen: f"{seen.wake_s:,.1f}",
        "P50 WAKE": lambda seen: duration(seen.wake_ms_p50),
        "P99 WAKE": lambda seen: duration(seen.wake_ms_p99),
        "P75 APP %": lambda seen: f"{seen.app_cold_percent_p75:.2f}",
        "COST": lambda seen: dollars(seen.cost_usd),
    }
    rows = [
        [row.policy, row.knob, *(shown(row.outcome) for shown in columns.values())] for row in compared.rows
    ]
    table(["POLICY", "SETTING", *columns], rows, right=columns)
    judged_s = (compared.until_tick - compared.from_tick) * compared.resolution_s
    click.echo(f"judged on the last {judged_s / 3600:.1f} h of {compared.revisions:,} revisions")
