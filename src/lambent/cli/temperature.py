"""`chill`, `prime`: temperature by hand."""

from __future__ import annotations

import click

from lambent.cli.options import connect, json_option
from lambent.cli.output import emit_json
from lambent.cli.progress import Progress
from lambent.core.spec import Temperature
from lambent.wire.api import DeploymentView


@click.command()
@click.argument("name")
@click.option("--to", type=click.Choice(["cold", "warm"]), default="warm", show_default=True)
@json_option
def chill(name: str, to: str, *, as_json: bool) -> None:
    """Let a deployment cool down; it wakes when it is invoked."""
    with connect() as client, Progress(f"chilling {name}"):
        view = client.chill(name, Temperature(to))
    _tell(view, as_json=as_json)


@click.command()
@click.argument("name")
@json_option
def prime(name: str, *, as_json: bool) -> None:
    """Load a deployment into its template, ready to be forked."""
    with connect() as client, Progress(f"priming {name}"):
        view = client.prime(name)
    _tell(view, as_json=as_json)


def _tell(view: DeploymentView, *, as_json: bool) -> None:
    if as_json:
        emit_json(view)
        return
    click.echo(f"{view.name} is {view.temperature}")
    for reason in view.unsafe:
        click.echo(f"it cannot be primed: {reason}")
