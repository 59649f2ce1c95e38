"""Keys of the project: `keys ls`, `keys create`, `keys rm`."""

from __future__ import annotations

import click

from lambent.cli.options import connect, json_option
from lambent.cli.output import emit_json, fields, table, when
from lambent.cli.progress import Progress
from lambent.core.invocation import Role


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def keys(ctx: click.Context, *, as_json: bool) -> None:
    """List, create and revoke keys; alone, it lists them."""
    if ctx.invoked_subcommand is None:
        _list(as_json=as_json)


@keys.command("ls")
@json_option
def ls(*, as_json: bool) -> None:
    """List the keys; their secrets are not kept."""
    _list(as_json=as_json)


@keys.command("create")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.INVOKE.value,
    show_default=True,
    help="What it may do: admin includes deploy, deploy includes invoke, invoke includes read.",
)
@json_option
def create(name: str, role: str, *, as_json: bool) -> None:
    """Make a key called NAME. Its secret is printed now and never again."""
    with connect() as client, Progress("making a key"):
        reply = client.create_key(name, Role(role))
    if as_json:
        emit_json(reply)
        return
    fields(
        [
            ("id", reply.key.key_id),
            ("role", reply.key.role),
            ("api key", reply.api_key),
            ("access key id", reply.access_key_id),
            ("secret access key", reply.secret_access_key),
        ]
    )


@keys.command("rm")
@click.argument("key_id")
@json_option
def rm(key_id: str, *, as_json: bool) -> None:
    """Revoke the key KEY_ID."""
    with connect() as client, Progress("revoking"):
        client.revoke_key(key_id)
    if as_json:
        emit_json({"revoked": key_id})
    else:
        click.echo(f"revoked {key_id}")


def _list(*, as_json: bool) -> None:
    with connect() as client, Progress("asking the server"):
        found = client.keys()
    if as_json:
        emit_json(found)
        return
    table(
        ["ID", "NAME", "ROLE", "CREATED"],
        [[one.key_id, one.name, one.role, when(one.created_unix_ms)] for one in found],
    )
