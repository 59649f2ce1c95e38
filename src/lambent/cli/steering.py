"""`cancel` and `retry`: the end of what is under way, and another beginning of what has failed."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import click

from lambent.cli.following import FINAL
from lambent.cli.options import connect, json_option
from lambent.cli.output import emit_json
from lambent.cli.progress import Progress

if TYPE_CHECKING:
    from lambent.client.client import Client
    from lambent.wire.runs import RunView


@click.command()
@click.argument("identity", metavar="ID")
@json_option
def cancel(identity: str, *, as_json: bool) -> None:
    """Cancel an asynchronous invocation or a run of a job that has not ended, whether it waits or runs.

    A run is asked to write a checkpoint and leave, and is killed where it does not; `lambent retry` lets it
    go on from there. Of a run's id the beginning is enough.
    """
    with connect() as client, Progress("cancelling"):
        run = _run(client, identity)
        found = client.cancel_run(run.run) if run else client.cancel(identity)
    if as_json:
        emit_json(found)
    elif run and found.state not in FINAL:
        click.echo(f"{found.state}, and asked to end")
    else:
        click.echo(found.state)


@click.command()
@click.argument("run")
@click.option(
    "--max-cost",
    "max_cost_usd",
    type=click.FloatRange(min=0),
    metavar="USD",
    help="What it may have cost at its end, with all that it has; 0: anything.",
)
@json_option
def retry(run: str, max_cost_usd: float | None, *, as_json: bool) -> None:
    """Let a run that has failed or was cancelled go on from its last checkpoint.

    It has the code that its job has now, and all its time once more. Runs that failed because they were to
    start after it wait for it again. Of its id the beginning is enough.
    """
    from lambent.cli.runs import resolved

    with connect() as client, Progress("asking the server"):
        found = client.retry_run(resolved(client, run).run, max_cost_usd=max_cost_usd)
    if as_json:
        emit_json(found)
    else:
        click.echo(f"{found.run}  {found.state}")


def _run(client: Client, identity: str) -> RunView | None:
    """The run of that id, or the one whose id begins so. An invocation's is none."""
    from lambent.cli.runs import resolved
    from lambent.client.errors import ApiError

    try:
        return resolved(client, identity)
    except ApiError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise
