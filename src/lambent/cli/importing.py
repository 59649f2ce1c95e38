"""`import`: what another server serves, deployed here."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from lambent.cli.options import connect, json_option, pairs
from lambent.cli.output import emit_json
from lambent.cli.progress import Progress
from lambent.core.spec import Setting


class Line(msgspec.Struct, frozen=True):
    """What became of one model."""

    what: str
    name: str
    url: str
    settings: dict[str, Setting]


@click.group("import")
def import_() -> None:
    """Deploy what another server serves."""


@import_.command()
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
def torchserve(folder: Path, config: Path | None, settings: dict[str, str], *, as_json: bool) -> None:
    """Deploy the archives of a TorchServe model store.

    DIR has *.mar files, or a folder model-store with them. `load_models` and `models` of a config.properties
    there say which are served under which name, with how many workers and in what batches; --set goes over
    that, as in --set workers_min=0. What has no counterpart is printed.
    """
    from lambent.client.torchserve import read_store

    store = read_store(folder, config)
    lines: list[Line] = []
    with connect() as client, Progress(f"deploying {folder}") as progress:
        for done, model in enumerate(store.models):
            progress.update(f"deploying {model.name}", done / len(store.models))
            told = {**model.settings, **settings}
            reply = client.deploy(model.file, name=model.name, settings=told)
            for one in reply.deployments:
                what = "deployed" if one.name in reply.changed else "unchanged"
                lines.append(Line(what, one.name, one.url, told))
    left = [f"{model.name}: {one}" for model in store.models for one in model.left_out]
    left += store.left_out
    if as_json:
        emit_json({"models": lines, "ignored": left})
        return
    for line in lines:
        shown = "".join(f"  {key}={value}" for key, value in line.settings.items())
        click.echo(f"{line.what}  {line.name}  {line.url}{shown}")
    for reason in left:
        click.echo(f"ignored  {reason}")
