"""`deploy`: from a file or folder to an endpoint."""

from __future__ import annotations

import click

from lambent.cli.options import connect, json_option, pairs
from lambent.cli.output import emit_json, size
from lambent.cli.progress import Progress


@click.command()
@click.argument("target")
@click.option("--name", default="", help="Its name, where the target declares one thing only.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", callback=pairs, help="A setting.")
@json_option
def deploy(target: str, name: str, settings: dict[str, str], *, as_json: bool) -> None:
    """Deploy a file, a folder or a model.

    TARGET is file.py:object, a file.py with an App, a folder with lambent.toml, or a model file.

    A file.py takes along the modules beside it that it imports; for data files use a folder.

    Settings: memory, timeout_s, hold_s, keep_alive_s, template_keep_s, keep, fork_unsafe, workers_min,
    workers_min_schedule, workers_max, concurrency, threads, queue_depth_max, description, env.NAME.
    """
    with connect() as client, Progress(f"deploying {target}") as progress:

        def sent(done: int, total: int) -> None:
            if done < total:
                progress.update(f"uploading {size(total)}", done / total)
            else:
                progress.update(f"preparing {target}")

        reply = client.deploy(target, name=name, settings=settings, sent=sent)
    if as_json:
        emit_json(reply)
        return
    for one in reply.deployments:
        what = "deployed" if one.name in reply.changed else "unchanged"
        note = ", has no model yet" if one.needs_model else ", cannot be primed" if one.unsafe else ""
        click.echo(f"{what}  {one.name}  ({one.kind}, revision {one.number}{note})  {one.url}")
    for one in reply.deployments:
        if one.unsafe:
            click.echo(f"`lambent show {one.name}` tells why it cannot be primed and what to do")
