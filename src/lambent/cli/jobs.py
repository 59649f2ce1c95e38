"""Jobs and what they make: `run`, `runs`, `models`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import click

from lambent.cli.options import connect, json_option, pairs
from lambent.cli.output import emit_json, numbers, shortened, size, table, when
from lambent.cli.progress import Progress

if TYPE_CHECKING:
    from lambent.client.client import Client
    from lambent.wire.runs import RunView

FINAL: Final = frozenset({"succeeded", "failed", "cancelled", "interrupted"})
POLL_S: Final = 0.5
ID_CHARS: Final = 12  # enough to tell ids apart in a table; --json has them whole


@click.command()
@click.argument("job")
@click.option(
    "-p",
    "--param",
    "params",
    multiple=True,
    metavar="KEY=VALUE",
    callback=pairs,
    help="A parameter; repeatable.",
)
@click.option("--detach", is_flag=True, help="Do not wait until it has ended.")
@json_option
def run(job: str, params: dict[str, str], *, detach: bool, as_json: bool) -> None:
    """Run a job and show its progress.

    Ctrl-C stops the watching, not the run.
    """
    with connect() as client:
        found = client.run(job, {key: _number_or_text(value) for key, value in params.items()})
        if not detach:
            found = _ended(client, found)
    if as_json:
        emit_json(found)
    else:
        model = "" if found.model_number is None else f"model {found.model_number}"
        said = (found.run, found.state, shortened(found.reason), numbers(found.metrics), model)
        click.echo("  ".join(part for part in said if part))
    if found.state in FINAL - {"succeeded"}:
        raise click.exceptions.Exit(1)


@click.command()
@click.option("--job", default="", help="Of this job only.")
@click.option("--deployment", default="", help="For this deployment only.")
@json_option
def runs(job: str, deployment: str, *, as_json: bool) -> None:
    """List the runs of jobs."""
    with connect() as client, Progress("asking the server"):
        found = client.runs(job=job, deployment=deployment)
    if as_json:
        emit_json(found)
        return
    table(
        ["RUN", "JOB", "STATE", "DONE", "STARTED", "MODEL", "METRICS", "REASON"],
        [
            [
                one.run[:ID_CHARS],
                one.job,
                one.state,
                f"{one.progress:.0%}",
                when(one.created_unix_ms),
                "" if one.model_number is None else str(one.model_number),
                numbers(one.metrics),
                shortened(one.reason or one.message),
            ]
            for one in found
        ],
        right=("DONE", "MODEL"),
    )


@click.command()
@click.argument("name", default="")
@json_option
def models(name: str, *, as_json: bool) -> None:
    """List the registered models, of NAME or all."""
    with connect() as client, Progress("asking the server"):
        found = client.models(name)
    if as_json:
        emit_json(found)
        return
    table(
        ["NAME", "MODEL", "SIZE", "REGISTERED", "METRICS", "RUN", "DIGEST"],
        [
            [
                one.name,
                str(one.number),
                size(one.size_bytes),
                when(one.created_unix_ms),
                numbers(one.metrics),
                one.run[:ID_CHARS],
                one.digest[:ID_CHARS],
            ]
            for one in found
        ],
        right=("MODEL", "SIZE"),
    )


def _ended(client: Client, run: RunView) -> RunView:
    pause = threading.Event()
    with Progress(f"{run.job}: {run.state}") as progress:
        while run.state not in FINAL:
            progress.update(
                f"{run.job}: {run.message or run.state}  {numbers(run.metrics)}".rstrip(), run.progress
            )
            pause.wait(POLL_S)
            run = client.show_run(run.run)
    return run


def _number_or_text(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
