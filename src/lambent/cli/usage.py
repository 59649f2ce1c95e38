"""What was used and what it costs: `usage`, `cost`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from lambent.cli.options import connect, json_option, moment
from lambent.cli.output import dollars, emit_json, table, when
from lambent.cli.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lambent.wire.api import UsageLine, UsageView

# The plan that `usage` shows: the prices that most readers know.
FAMILIAR: Final = "aws-lambda"
since_option: Final = click.option(
    "--since",
    callback=moment,
    metavar="WHEN",
    help="From then on: a date, a time, or an age such as 24h or 7d.",
)
until_option: Final = click.option("--until", callback=moment, metavar="WHEN", help="Up to then.")


@click.command()
@since_option
@until_option
@json_option
def usage(since: int | None, until: int | None, *, as_json: bool) -> None:
    """Show what was used, at AWS Lambda's prices.

    The prices are the published ones; `lambent cost` shows every plan.
    """
    view = _ask(since, until)
    if as_json:
        emit_json(view)
        return
    costs = {FAMILIAR.upper(): FAMILIAR} if FAMILIAR in view.plans else {}
    _print_usage(view, costs)
    for title, plan in costs.items():
        click.echo(f"{title}: {view.plans[plan]}")


@click.command()
@since_option
@until_option
@json_option
def cost(since: int | None, until: int | None, *, as_json: bool) -> None:
    """Show what the same usage costs under every price plan."""
    view = _ask(since, until)
    if as_json:
        emit_json(view)
        return
    _print_usage(view, {})
    click.echo()
    rows = [[plan, _cost(view.total, plan), said] for plan, said in view.plans.items()]
    table(["PLAN", "COST", "PRICES"], rows, right=["COST"])


def _ask(since: int | None, until: int | None) -> UsageView:
    with connect() as client, Progress("adding up"):
        return client.usage(since_unix_ms=since, until_unix_ms=until)


def _print_usage(view: UsageView, costs: Mapping[str, str]) -> None:
    """Print a line for each deployment and the total; `costs` has plans by the title of their column."""
    columns: dict[str, Callable[[UsageLine], str]] = {
        "DEPLOYMENT": lambda line: line.deployment or "total",
        "INVOCATIONS": lambda line: f"{line.invocations:,}",
        "FAILED": lambda line: f"{line.failed:,}",
        "COLD STARTS": lambda line: f"{line.cold_starts:,}",
        "BILLED MS": lambda line: f"{line.billed_ms:,}",
        "GB-S": lambda line: f"{line.gb_s:,.3f}",
        "CPU S": lambda line: f"{line.cpu_s:,.2f}",
    }
    header = [*columns, *costs]
    rows = [
        [*(shown(line) for shown in columns.values()), *(_cost(line, plan) for plan in costs.values())]
        for line in (*view.lines, view.total)
    ]
    table(header, rows, right=header[1:])
    click.echo(f"from {when(view.since_unix_ms)} until {when(view.until_unix_ms)}")
    if view.torn_records:
        click.echo(f"{view.torn_records} records could not be read and are not counted", err=True)


def _cost(line: UsageLine, plan: str) -> str:
    """Dollars, or a dash where the plan cannot price this usage."""
    return dollars(line.cost_usd[plan]) if plan in line.cost_usd else "-"
