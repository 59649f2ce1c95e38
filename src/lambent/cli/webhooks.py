"""Webhooks of the project: `webhooks ls`, `webhooks secret`, `webhooks rotate`."""

from __future__ import annotations

import click

from lambent.cli.options import connect, json_option
from lambent.cli.output import emit_json, fields, shortened, table, when
from lambent.cli.progress import Progress


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def webhooks(ctx: click.Context, *, as_json: bool) -> None:
    """See what webhooks were told, and the secret that messages are signed with; alone, it lists."""
    if ctx.invoked_subcommand is None:
        _list(100, as_json=as_json)


@webhooks.command("ls")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="At the most.")
@json_option
def ls(limit: int, *, as_json: bool) -> None:
    """List the messages of the last week, newest first."""
    _list(limit, as_json=as_json)


def _list(limit: int, *, as_json: bool) -> None:
    with connect() as client, Progress("asking the server"):
        found = client.webhooks.deliveries(limit=limit)
    if as_json:
        emit_json(found)
        return
    table(
        ["INVOCATION", "DEPLOYMENT", "STATE", "TRIES", "MADE", "URL", "ERROR"],
        [
            [
                one.invocation,
                one.deployment,
                one.state,
                str(one.attempts),
                when(one.created_unix_ms),
                shortened(one.url),
                shortened(one.error),
            ]
            for one in found
        ],
        right=("TRIES",),
    )


@webhooks.command("secret")
@json_option
def secret(*, as_json: bool) -> None:
    """Show the secret that receivers check signatures with."""
    with connect() as client, Progress("asking the server"):
        found = client.webhooks.secret()
    if as_json:
        emit_json(found)
    else:
        fields([("secret", found.secret), ("previous", found.previous)])


@webhooks.command("rotate")
@click.option("--overlap-s", default=86_400.0, show_default=True, help="How long both secrets sign.")
@json_option
def rotate(overlap_s: float, *, as_json: bool) -> None:
    """Make a new secret; the one before it signs as well for a while."""
    with connect() as client, Progress("rotating"):
        found = client.webhooks.rotate(overlap_s=overlap_s)
    if as_json:
        emit_json(found)
        return
    fields(
        [
            ("secret", found.secret),
            ("previous", found.previous),
            ("both sign until", when(found.overlap_until_unix_ms) if found.previous else ""),
        ]
    )
