"""`run`: a job, from a file where it is not deployed yet, watched to its end."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from lambent.cli.following import FINAL, POLL_S, follow, shown, summary
from lambent.cli.options import connect, json_option, pairs
from lambent.cli.output import dollars, emit_json, numbers, shortened, size
from lambent.cli.progress import Progress
from lambent.cli.runs import resolved
from lambent.core.datasets import name_and_number
from lambent.core.errors import InvalidSpec
from lambent.core.spec import Kind

if TYPE_CHECKING:
    from lambent.client.client import Client
    from lambent.wire.runs import RunView

CODE_SUFFIX: Final = ".py"


def _versions(_: click.Context, parameter: click.Parameter, texts: Iterable[str]) -> dict[str, int]:
    """Values like `NAME@N` as a dict. Raises `BadParameter` for one without a number."""
    found: dict[str, int] = {}
    for text in texts:
        try:
            name, number = name_and_number(text)
        except InvalidSpec as error:
            raise click.BadParameter(error.message, param=parameter) from error
        if number is None:
            raise click.BadParameter(f"{text!r} is not of the form NAME@N", param=parameter)
        found[name] = number
    return found


@click.command()
@click.argument("target")
@click.option(
    "--set",
    "-p",
    "--param",
    "params",
    multiple=True,
    metavar="KEY=VALUE",
    callback=pairs,
    help="A parameter; repeatable. A number, true, false, null, or other JSON; else text.",
)
@click.option("-f", "--follow", "is_followed", is_flag=True, help="Show what it prints and its curves.")
@click.option("--detach", is_flag=True, help="Do not wait until it has ended.")
@click.option(
    "--max-cost",
    "max_cost_usd",
    type=click.FloatRange(min=0, min_open=True),
    metavar="USD",
    help="End it with a checkpoint when it has cost this much.",
)
@click.option("--after", multiple=True, metavar="RUN", help="Start once this run has succeeded; repeatable.")
@click.option("--priority", type=int, help="Who has the higher one goes first; the job's unless said.")
@click.option(
    "--data",
    "datasets",
    multiple=True,
    metavar="NAME@N",
    callback=_versions,
    help="A version of a dataset, in place of the newest; repeatable.",
)
@json_option
def run(
    target: str,
    params: dict[str, str],
    datasets: dict[str, int],
    max_cost_usd: float | None,
    after: tuple[str, ...],
    priority: int | None,
    *,
    is_followed: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Run a job and show its progress.

    TARGET is the name of a job, or file.py:function, or a file.py that declares one job: that is deployed
    first. Ctrl-C stops the watching, not the run.
    """
    if is_followed and detach:
        raise click.UsageError("--follow watches the run, and --detach does not")
    with connect() as client:
        job = _deployed(client, target) if _is_file(target) else target
        given = {key: value_of(text) for key, text in params.items()}
        found = client.run(
            job, given, max_cost_usd=max_cost_usd or 0.0, priority=priority, datasets=datasets,
            after=tuple(resolved(client, one).run for one in after),
        )  # fmt: skip
        if not detach:
            found = _watched(client, found, is_followed=is_followed, as_json=as_json)
    if as_json:
        emit_json(found)
    else:
        click.echo(told(found))
    if found.state in FINAL - {"succeeded"}:
        raise click.exceptions.Exit(1)


def told(run: RunView) -> str:
    """How a run stands or has ended, in one line."""
    model = "" if run.model_number is None else f"model {run.model_number}"
    cost = dollars(run.cost_usd) if run.cost_usd else ""
    said = (run.run, run.state, shortened(run.reason), numbers(run.metrics), model, cost)
    return "  ".join(part for part in said if part)


def value_of(text: str) -> Any:
    """A parameter as it is written on the command line: JSON where it is that, a number, else text."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        pass
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if math.isfinite(number):
            return number
    return text


def _is_file(target: str) -> bool:
    """Whether it is code, and not the name of a job, which has no dot in it."""
    path, _, _ = target.partition(":")
    return path.endswith(CODE_SUFFIX) or Path(path).name != path


def _deployed(client: Client, target: str) -> str:
    """The name of the one job that the file declares, which is deployed now."""

    def sent(done: int, total: int) -> None:
        progress.update(f"uploading {size(total)}" if done < total else f"preparing {target}")

    with Progress(f"deploying {target}") as progress:
        reply = client.deploy(target, sent=sent, as_job=True)
    jobs = [one for one in reply.deployments if one.kind is Kind.JOB]
    if len(jobs) != 1:
        names = ", ".join(one.name for one in jobs) or "none"
        raise click.UsageError(
            f"{target} has to declare one job, and has {names}: name it, as in file.py:fit"
        )
    what = "deployed" if jobs[0].name in reply.changed else "unchanged"
    click.echo(f"{what}  {jobs[0].name}  (job, revision {jobs[0].number})", err=True)
    return jobs[0].name


def _watched(client: Client, run: RunView, *, is_followed: bool, as_json: bool) -> RunView:
    try:
        return follow(client, run, shown(is_quiet=as_json)) if is_followed else _awaited(client, run)
    except KeyboardInterrupt:
        click.echo(f"\nthe run goes on: `lambent runs {run.run}` shows it", err=True)
        raise


def _awaited(client: Client, run: RunView) -> RunView:
    pause = threading.Event()
    with Progress(summary(run)) as progress:
        while run.state not in FINAL:
            progress.update(summary(run), run.progress or None)
            pause.wait(POLL_S)
            run = client.show_run(run.run)
    return run
