"""Datasets: `data add`, `data ls`, `data show`, `data rm`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from lambent.cli.options import connect, json_option
from lambent.cli.output import emit_json, fields, plural, size, table, when
from lambent.cli.progress import Progress

DIGEST_CHARS: Final = 12  # enough to tell digests apart in a table; --json has them whole
FILES_SHOWN_MAX: Final = 20


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def data(ctx: click.Context, *, as_json: bool) -> None:
    """Add, list, show and remove versioned datasets; alone, it lists them."""
    if ctx.invoked_subcommand is None:
        _list(as_json=as_json)


@data.command("add")
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def add(name: str, path: Path, *, as_json: bool) -> None:
    """Make the file or folder PATH the next version of the dataset NAME.

    Parquet, CSV, NumPy, JSON lines, folders of images or any files. The same content has the same number.
    """
    with connect() as client, Progress(f"looking at {path}") as progress:

        def sent(done: int, total: int) -> None:
            if done < total:
                progress.update(f"uploading {size(total)}", done / total)
            else:
                progress.update(f"storing {name}")

        reply = client.datasets.add(
            name, path, checking=lambda file: progress.update(f"looking at {file}"), sent=sent
        )
    if as_json:
        emit_json(reply)
        return
    one = reply.dataset
    what = "added" if reply.changed else "unchanged"
    click.echo(
        f"{what}  {one.name}@{one.number}  ({one.kind}, {plural(one.files, 'file')}, {size(one.size_bytes)})"
    )
    for run in reply.runs:
        click.echo(f"started run {run}")


@data.command("ls")
@json_option
def ls(*, as_json: bool) -> None:
    """List the datasets, the newest version of each."""
    _list(as_json=as_json)


@data.command("show")
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """Show a dataset, NAME or a version of it, NAME@N."""
    with connect() as client, Progress("asking the server"):
        found = client.datasets.show(name)
    if as_json:
        emit_json(found)
        return
    one = found.dataset
    fields(
        [
            ("dataset", f"{one.name}@{one.number}"),
            ("kind", one.kind),
            ("size", size(one.size_bytes)),
            ("added", when(one.created_unix_ms)),
            ("digest", one.digest),
            ("versions", ", ".join(str(each.number) for each in found.versions)),
        ]
    )
    shown = found.files[:FILES_SHOWN_MAX]
    table(["FILE", "SIZE"], [[file.path, size(file.size_bytes)] for file in shown], right=("SIZE",))
    if more := one.files - len(shown):
        click.echo(f"and {plural(more, 'file')} more")


@data.command("rm")
@click.argument("name")
@json_option
def rm(name: str, *, as_json: bool) -> None:
    """Remove a dataset NAME with all its versions, or one version of it, NAME@N."""
    with connect() as client, Progress("removing"):
        removed = client.datasets.remove(name)
    if as_json:
        emit_json({"removed": removed})
        return
    for one in removed:
        click.echo(f"removed {one.name}@{one.number}")


def _list(*, as_json: bool) -> None:
    with connect() as client, Progress("asking the server"):
        found = client.datasets.all()
    if as_json:
        emit_json(found)
        return
    table(
        ["NAME", "VERSION", "KIND", "FILES", "SIZE", "ADDED", "DIGEST"],
        [
            [
                one.name,
                str(one.number),
                one.kind,
                str(one.files),
                size(one.size_bytes),
                when(one.created_unix_ms),
                one.digest[:DIGEST_CHARS],
            ]
            for one in found
        ],
        right=("VERSION", "FILES", "SIZE"),
    )
