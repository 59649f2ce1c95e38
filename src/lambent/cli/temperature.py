"""`chill`, `prime`: temperature by hand."""

from __future__ import annotations

from typing import Final

import click

from lambent.cli.options import connect, json_option
from lambent.cli.output import emit_json
from lambent.cli.progress import Progress
from lambent.core.spec import Keep, Temperature
from lambent.wire.api import DeploymentView
from lambent.wire.process import NOT_FORKED

LOADS: Final = "workers loads by itself; if this is harmless, deploy it with --set fork_unsafe=allow"
COLDEST_FIRST: Final = tuple(Temperature)
READY: Final = frozenset({Temperature.PRIMED, Temperature.HOT})


@click.command()
@click.argument("name")
@click.option(
    "--to",
    type=click.Choice(["cold", "warm"]),
    default="warm",
    show_default=True,
    help="warm: its packages stay imported. cold: they go, too, unless others use them.",
)
@json_option
def chill(name: str, to: str, *, as_json: bool) -> None:
    """Let a deployment cool down; it wakes when it is invoked."""
    asked = Temperature(to)
    with connect() as client, Progress(f"chilling {name}"):
        view = client.chill(name, asked)
    if as_json:
        emit_json(view)
    if COLDEST_FIRST.index(view.temperature) > COLDEST_FIRST.index(asked):
        raise click.ClickException(f"{name} is {view.temperature}, not {asked}: it was needed meanwhile")
    if not as_json:
        click.echo(_chilled(view, asked))


@click.command()
@click.argument("name")
@json_option
def prime(name: str, *, as_json: bool) -> None:
    """Load a deployment into its template, ready to be forked."""
    with connect() as client, Progress(f"priming {name}"):
        view = client.prime(name)
    if as_json:
        emit_json(view)
    if view.unsafe:
        raise click.ClickException(
            f"{name} cannot be primed: {'; '.join(view.unsafe)}. It is {view.temperature}, and each of its "
            + ("workers starts it" if NOT_FORKED in view.unsafe else LOADS)
        )
    if view.temperature not in READY:
        raise click.ClickException(f"{name} was primed, and has been let go again: it is {view.temperature}")
    if not as_json:
        click.echo(_primed(view))


def _chilled(view: DeploymentView, asked: Temperature) -> str:
    said = f"{view.name} is {view.temperature}"
    if view.temperature is not asked:
        said += f", colder than {asked}"
    if view.keep is not Keep.AUTO:
        said += f"; keep={view.keep} holds again as soon as it is invoked"
    return said


def _primed(view: DeploymentView) -> str:
    if view.temperature is Temperature.HOT:
        said = f"{view.name} is hot: its template is loaded, and a worker runs"
    else:
        said = f"{view.name} is primed"
    return said + (f", although {'; '.join(view.overruled)}" if view.overruled else "")
