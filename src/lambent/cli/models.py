"""`models`: what was registered."""

from __future__ import annotations

import click

from lambent.cli.options import connect, json_option
from lambent.cli.output import emit_json, numbers, size, table, when
from lambent.cli.progress import Progress
from lambent.cli.runs import ID_CHARS


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
