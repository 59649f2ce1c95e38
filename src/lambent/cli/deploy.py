"""`deploy`: from a file or folder to an endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from lambent.cli.canary import bounds
from lambent.cli.options import connect, json_option, pairs
from lambent.cli.output import emit_json, size
from lambent.cli.progress import Progress
from lambent.cli.sam import deploy_template
from lambent.wire.process import NOT_FORKED

if TYPE_CHECKING:
    from lambent.wire.aliases import Canary
    from lambent.wire.api import DeploymentView, DeployReply

TEMPLATE_SUFFIXES: Final = (".yaml", ".yml", ".json", ".template")


@click.command()
@click.argument("target", default="")
@click.option("--name", default="", help="Its name, where the target declares one thing only.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", callback=pairs, help="A setting.")
@click.option(
    "--cmd",
    "command",
    default="",
    metavar="COMMAND",
    help="Run this, which serves HTTP on $PORT, in the folder TARGET, or in this one.",
)
@click.option(
    "--canary",
    "percent",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Try it on so much of the traffic, beside what is active.",
)
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    metavar="KEY=VALUE",
    callback=pairs,
    help="A parameter of a SAM template.",
)
@bounds
@json_option
def deploy(
    target: str,
    name: str,
    settings: dict[str, str],
    command: str,
    percent: float | None,
    parameters: dict[str, str],
    *,
    as_json: bool,
    **terms: Any,
) -> None:
    """Deploy a file, a folder, a model or a SAM template.

    TARGET is file.py:object, a file.py with an App, a folder with lambent.toml or an executable bootstrap,
    a model file, SageMaker's model.tar.gz, TorchServe's model.mar, or a SAM template (.yaml, .yml).

    A file.py takes along the modules beside it that it imports; for data files use a folder.

    With --cmd it is any program that listens on $PORT, as in --cmd 'uvicorn app:app --port $PORT'; with
    other quotes your shell would replace $PORT. Settings, with their units in `_s` and `_ms`:

    \b
    what it gets   memory, threads, env.NAME, description, schema, runtime,
                   command, ready_path, ready_timeout_s
    how long       timeout_s, hold_s, socket_s, socket_idle_s
    how warm       keep, keep_alive_s, template_keep_s, fork_unsafe
    how many       workers_min, workers_min_schedule, workers_max, concurrency,
                   parallel, queue_depth_max, max_batch, latency_target_ms
    of jobs        slice_s, grace_s, priority, on_data, max_cost
    for later      retries, retry_first_s, async_age_max_s, async_running_max,
                   result_keep_s, dead_keep_s, webhook, on_success, on_failure
    by the clock   schedule, as in --set "schedule=0 8 * * 1-5; Europe/Berlin"
    of models      drift_max, accept, as in --set "accept=accuracy >= 0.97 and better(accuracy)"

    With --canary the new revision is tried: it goes back by itself when it fails more than --max-error-rate.
    """
    canary = _canary(percent, terms)
    target, settings = _aimed(target, settings, command)
    if target.endswith(TEMPLATE_SUFFIXES):
        if name or settings or canary:
            raise click.UsageError(
                "--name, --set and --canary are not for a template: it says all that itself"
            )
        deploy_template(Path(target), parameters, as_json=as_json)
        return
    if parameters:
        raise click.UsageError("--parameter is for a SAM template")
    with connect() as client, Progress(f"deploying {target}") as progress:

        def sent(done: int, total: int) -> None:
            if done < total:
                progress.update(f"uploading {size(total)}", done / total)
            else:
                progress.update(f"preparing {target}")

        reply = client.deploy(target, name=name, settings=settings, canary=canary, sent=sent)
    if as_json:
        emit_json(reply)
    else:
        _tell(reply, percent)


def _aimed(target: str, settings: dict[str, str], command: str) -> tuple[str, dict[str, str]]:
    """What is deployed, and how: a command runs in this folder where no other is said."""
    if command:
        return target or ".", {**settings, "command": command}
    if not target:
        raise click.UsageError("Missing argument 'TARGET'.")
    return target, settings


def _odd(one: DeploymentView) -> bool:
    """Whether its owner may want to know why it cannot be primed: a program never can."""
    return bool(one.unsafe) and NOT_FORKED not in one.unsafe


def _tell(reply: DeployReply, percent: float | None) -> None:
    for one in reply.deployments:
        what = "deployed" if one.name in reply.changed else "unchanged"
        if one.name in reply.on_trial:
            what = f"on trial with {percent:g} %"
        note = ", has no model yet" if one.needs_model else ", cannot be primed" if _odd(one) else ""
        click.echo(f"{what}  {one.name}  ({one.kind}, revision {one.number}{note})  {one.url}")
    for one in reply.deployments:
        if _odd(one):
            click.echo(f"`lambent show {one.name}` tells why it cannot be primed and what to do")
    for name in reply.on_trial:
        click.echo(f"`lambent promote {name}` lets it take over, `lambent rollback {name}` ends the trial")


def _canary(percent: float | None, terms: dict[str, Any]) -> Canary | None:
    told = {name: value for name, value in terms.items() if value}
    if percent is None:
        if told:
            raise click.UsageError("bounds and --sticky-header are for --canary")
        return None
    from lambent.wire.aliases import Canary

    return Canary(percent=percent, **told)
