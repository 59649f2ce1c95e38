"""What was used and what it costs: `usage`, `cost`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from lambent.cli.options import connect, json_option, moment
from lambent.cli.output import dollars, emit_json, table, when
from lambent.cli.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambent.wire.api import UsageLine, UsageView

# The plan that `usage` shows: the one whose prices most readers know by heart.
FAMILIAR: Final = "aws"
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
    plan = next((name for name in view.plans if FAMILIAR in name.lower()), next(iter(view.plans), ""))
    _print(view, [plan] if plan else [])


@click.command()
@since_option
@until_option
@json_option
def cost(since: int | None, until: int | None, *, as_json: bool) -> None:
    """Show what the same usage costs under every price plan."""
    view = _ask(since, until)
    if as_json:
        emit_json(view)
    else:
        _print(view, list(view.plans))


def _ask(since: int | None, until: int | None) -> UsageView:
    with connect() as client, Progress("adding up"):
        return client.usage(since_unix_ms=since, until_unix_ms=until)


def _print(view: UsageView, plans: list[str]) -> None:
    columns: dict[str, Callable[[UsageLine], str]] = {
        "DEPLOYMENT": lambda line: line.deployment,
        "INVOCATIONS": lambda line: f"{line.invocations:,}",
        "FAILED": lambda line: f"{line.failed:,}",
        "COLD STARTS": lambda line: f"{line.cold_starts:,}",
        "BILLED MS": lambda line: f"{line.billed_ms:,}",
        "GB-S": lambda line: f"{line.gb_s:,.3f}",
        "CPU S": lambda line: f"{line.cpu_s:,.2f}",
    }
    rows = [[show(line) for show in columns.values()] for line in (*view.lines, view.total)]
    for row, line in zip(rows, (*view.lines, view.total), strict=True):
        row.extend(dollars(line.cost_usd.get(plan, 0.0)) for plan in plans)
    rows[-1][0] = "total"
    header = [*columns, *(plan.upper() for plan in plans)]
    table(header, rows, right=header[1:])
    click.echo(f"from {when(view.since_unix_ms)} until {when(view.until_unix_ms)}")
    for plan in plans:
        click.echo(f"{plan.upper()}: {view.plans[plan]}")
    if view.torn_records:
        click.echo(f"{view.torn_records} records could not be read and are not counted", err=True)
