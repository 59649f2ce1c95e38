"""`deploy template.yaml`: the functions of a SAM template."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from lambent.cli.output import emit_json
from lambent.cli.progress import Progress


def deploy_template(file: Path, parameters: Mapping[str, str], *, as_json: bool) -> None:
    """Deploy all of it, a line for each function, and say what was left out. Raises `LambentError`."""
    from lambent.client.discovery import locate
    from lambent.client.sam.deploying import deploy
    from lambent.client.sam.template import read
    from lambent.client.transport import Transport

    stack = read(file, parameters)
    done = []
    with closing(Transport(locate())) as transport, Progress(f"deploying {file}") as progress:
        for one in deploy(stack, transport):
            done.append(one)
            progress.update(f"deploying {file}: {one.name}", len(done) / len(stack.functions))
    if as_json:
        told: dict[str, Any] = {"functions": done, "ignored": stack.ignored}
        emit_json(told)
        return
    for one in done:
        click.echo(
            f"{'deployed' if one.changed else 'unchanged'}  {one.name}  ({one.version})  {one.url}".rstrip()
        )
    for left in stack.ignored:
        click.echo(f"ignored  {left.what}: {left.why}")
