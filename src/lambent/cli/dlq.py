"""What could not be done: `dlq ls`, `dlq show`, `dlq redrive`, `dlq purge`."""

from __future__ import annotations

import click

from lambent.cli.options import connect, json_option
from lambent.cli.output import emit_json, fields, shortened, table, when
from lambent.cli.progress import Progress


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def dlq(ctx: click.Context, *, as_json: bool) -> None:
    """Look at dead letters, redrive or purge them; alone, it says which deployments have any.

    A dead letter is an asynchronous invocation that failed after its last retry, or grew too old.
    """
    if ctx.invoked_subcommand is not None:
        return
    with connect() as client, Progress("asking the server"):
        found = client.dead_letters.counts()
    if as_json:
        emit_json(found)
    else:
        rows = [[name, str(count)] for name, count in sorted(found.items())]
        table(["DEPLOYMENT", "DEAD"], rows, right=("DEAD",))


@dlq.command("ls")
@click.argument("name")
@click.option("--after", default="", metavar="ID", help="Behind this one.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="At the most.")
@json_option
def ls(name: str, after: str, limit: int, *, as_json: bool) -> None:
    """List the dead letters of NAME, oldest first."""
    with connect() as client, Progress("asking the server"):
        found = client.dead_letters.all(name, after=after, limit=limit)
    if as_json:
        emit_json(found)
        return
    table(
        ["ID", "TRIES", "ACCEPTED", "DIED", "CAUSE"],
        [
            [
                one.id,
                str(one.attempts),
                when(one.created_unix_ms),
                when(one.ended_unix_ms),
                shortened(one.cause),
            ]
            for one in found
        ],
        right=("TRIES",),
    )
    if len(found) == limit:
        click.echo(f"there may be more: --after {found[-1].id}", err=True)


@dlq.command("show")
@click.argument("name")
@click.option("--id", "letter", required=True, metavar="ID", help="Which one.")
@json_option
def show(name: str, letter: str, *, as_json: bool) -> None:
    """Show a dead letter of NAME with its event and its error."""
    with connect() as client, Progress("asking the server"):
        found = client.dead_letters.show(name, letter)
    if as_json:
        emit_json(found)
        return
    one = found.letter
    fields(
        [
            ("id", one.id),
            ("cause", one.cause),
            ("tries", str(one.attempts)),
            ("order key", one.order_key),
            ("accepted", when(one.created_unix_ms)),
            ("died", when(one.ended_unix_ms)),
            ("kept until", when(one.forget_unix_ms)),
            ("content type", found.content_type),
            ("event", found.event or found.event_base64),
            ("error", found.error or found.error_base64),
        ]
    )


@dlq.command("redrive")
@click.argument("name")
@click.option("--id", "letter", default="", metavar="ID", help="This one only.")
@json_option
def redrive(name: str, letter: str, *, as_json: bool) -> None:
    """Try the dead letters of NAME again, as if just accepted."""
    with connect() as client, Progress("redriving"):
        count = client.dead_letters.redrive(name, letter)
    emit_json({"redriven": count}) if as_json else click.echo(f"redriven: {count}")


@dlq.command("purge")
@click.argument("name")
@click.option("--id", "letter", default="", metavar="ID", help="This one only.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def purge(name: str, letter: str, *, yes: bool, as_json: bool) -> None:
    """Forget the dead letters of NAME."""
    if not (yes or letter or as_json):
        click.confirm(f"forget all dead letters of {name}?", abort=True, err=True)
    with connect() as client, Progress("purging"):
        count = client.dead_letters.purge(name, letter)
    emit_json({"purged": count}) if as_json else click.echo(f"purged: {count}")
