"""`import`: what another server serves, deployed here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from lambent.cli.complaint import said
from lambent.cli.options import connect, json_option, pairs
from lambent.cli.output import emit_json
from lambent.cli.progress import Progress
from lambent.core.spec import Setting

if TYPE_CHECKING:
    from lambent.client.client import Client
    from lambent.client.torchserve import Stored

SERVERS: Final = ("torchserve",)


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one model."""

    what: str
    name: str
    url: str = ""
    settings: dict[str, Setting] = {}
    error: str = ""


@click.command("import")
@click.argument("server", type=click.Choice(SERVERS), expose_value=False)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The config.properties, where it is not in DIR or in DIR/config.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", callback=pairs, help="A setting of all."
)
@json_option
def import_(folder: Path, config: Path | None, settings: dict[str, str], *, as_json: bool) -> None:
    """Deploy what another server serves.

    `lambent import torchserve DIR` deploys the archives of a TorchServe model store. DIR has *.mar files, or
    a folder model-store with them. `load_models` and `models` of a config.properties there say which are
    served under which name, with how many workers and in what batches; --set goes over that, as in
    --set workers_min=0. What has no counterpart is printed, and so is what could not be deployed.
    """
    from lambent.client.torchserve import read_store

    store = read_store(folder, config)
    with connect() as client, Progress(f"deploying {folder}") as progress:
        lines = []
        for done, model in enumerate(store.models):
            progress.update(f"deploying {model.name}", done / len(store.models))
            lines.append(_deployed(client, model, {**model.settings, **settings}))
    left = [f"{model.name}: {one}" for model in store.models for one in model.left_out]
    left += store.left_out
    if as_json:
        emit_json({"models": lines, "ignored": left})
    else:
        _tell(lines, left)
    if any(line.error for line in lines):
        raise click.exceptions.Exit(1)


def _deployed(client: Client, model: Stored, settings: dict[str, Setting]) -> Line:
    """One that cannot be is told, and the others are deployed all the same."""
    from lambent.client.errors import ApiError

    try:
        reply = client.deploy(model.file, name=model.name, settings=settings)
    except ApiError as error:
        return Line("failed", model.name, settings=settings, error=said(error))
    (one,) = reply.deployments
    return Line("deployed" if one.name in reply.changed else "unchanged", one.name, one.url, settings)


def _tell(lines: Sequence[Line], left: Sequence[str]) -> None:
    for line in lines:
        shown = "".join(f"  {key}={value}" for key, value in line.settings.items())
        click.echo(f"{line.what}  {line.name}  {line.error or line.url + shown}")
    for reason in left:
        click.echo(f"ignored  {reason}")
