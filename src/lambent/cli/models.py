"""`models`: what was registered."""

from __future__ import annotations

import click

from lambent.cli.options import connect, json_option
from lambent.cli.output import emit_json, numbers, shortened, size, table, when
from lambent.cli.progress import Progress
from lambent.cli.runs import ID_CHARS


@click.command()
@click.argument("name", default="")
@click.option("--serve", type=int, metavar="MODEL", help="Let this one serve, also if its gate refused it.")
@json_option
def models(name: str, *, serve: int | None, as_json: bool) -> None:
    """List the registered models, of NAME or all."""
    if serve is not None and not name:
        raise click.UsageError("--serve is for the models of one deployment: name it")
    with connect() as client, Progress("asking the server"):
        found = client.models(name) if serve is None else (client.serve_model(name, serve),)
    if as_json:
        emit_json(found)
        return
    table(
        ["NAME", "MODEL", "SIZE", "REGISTERED", "METRICS", "RUN", "DIGEST", "REFUSED"],
        [
            [
                one.name,
                str(one.number),
                size(one.size_bytes),
                when(one.created_unix_ms),
                numbers(one.metrics),
                one.run[:ID_CHARS],
                one.digest[:ID_CHARS],
                shortened(one.refused),
            ]
            for one in found
        ],
        right=("MODEL", "SIZE"),
    )
