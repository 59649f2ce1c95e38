"""`runs`: the runs of jobs as a table, or one of them whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from lambent.cli.curves import chart
from lambent.cli.following import CURVES_MAX, FINAL
from lambent.cli.options import connect, json_option
from lambent.cli.output import (
    dollars,
    emit_json,
    fields,
    lasting,
    numbers,
    one_line,
    plural,
    shortened,
    size,
    table,
    when,
)
from lambent.cli.progress import Progress
from lambent.core.errors import CallerFault

if TYPE_CHECKING:
    from lambent.client.client import Client
    from lambent.core.series import Points
    from lambent.wire.runs import RunView, SavedView

ID_CHARS: Final = 12  # enough to tell ids apart in a table; --json has them whole
ID_CHARS_WHOLE: Final = 36
FILES_SHOWN_MAX: Final = 20


class Whole(msgspec.Struct, frozen=True):
    """All there is to say of a run."""

    run: RunView
    curves: Mapping[str, Points]
    artifacts: Sequence[SavedView]


@click.command()
@click.argument("run", default="")
@click.option("--job", default="", help="Of this job only.")
@click.option("--deployment", default="", help="For this deployment only.")
@click.option("--metric", "metrics", multiple=True, help="Of RUN, the curve of this one; repeatable.")
@click.option(
    "--download",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the files that RUN has saved to this folder.",
)
@click.option("--forget", is_flag=True, help="Remove RUN, which has ended, with all that is kept of it.")
@json_option
def runs(
    run: str,
    job: str,
    deployment: str,
    metrics: tuple[str, ...],
    folder: Path | None,
    *,
    forget: bool,
    as_json: bool,
) -> None:
    """List the runs of jobs, or show RUN with its curves, checkpoints and cost.

    RUN may be the beginning of its id, as the list has it.
    """
    if not run:
        if metrics or folder or forget:
            raise click.UsageError("--metric, --download and --forget are for one run: say which")
        _list(job, deployment, as_json=as_json)
        return
    with connect() as client:
        with Progress("asking the server"):
            found = resolved(client, run)
        if forget:
            client.records.forget(found.run)
            _say({"forgotten": found.run}, f"forgot {found.run}", as_json=as_json)
        elif folder is not None:
            with Progress("downloading"):
                files = client.records.download(found.run, folder)
            said = f"wrote {plural(len(files), 'file')} to {folder}"
            _say({"written": [str(file) for file in files]}, said, as_json=as_json)
        else:
            _show(client, found, metrics, as_json=as_json)


def _show(client: Client, run: RunView, metrics: Sequence[str], *, as_json: bool) -> None:
    with Progress("asking the server"):
        curves = client.records.metrics(run.run)
        if unknown := sorted(set(metrics) - set(curves)):
            there = ", ".join(sorted(curves)[:CURVES_MAX]) or "none"
            raise CallerFault(f"the run has logged no metric {unknown[0]!r}; it has {there}")
        whole = Whole(run, {name: curves[name] for name in metrics or curves}, client.records.saved(run.run))
    if as_json:
        emit_json(whole)
    else:
        show_whole(whole)


def resolved(client: Client, run: str) -> RunView:
    """The run of that id, or the one whose id begins so."""
    if len(run) < ID_CHARS_WHOLE:
        alike = [one for one in client.runs() if one.run.startswith(run)]
        if len(alike) > 1:
            raise CallerFault(f"{len(alike)} runs have ids that begin with {run!r}: write more of it")
        if alike:
            return alike[0]
    return client.show_run(run)


def show_whole(whole: Whole) -> None:
    """Print all there is to say of a run, with its first curves."""
    fields(_fields(whole.run))
    names = sorted(whole.curves)
    for name in names[:CURVES_MAX]:
        _show_curve(name, whole.curves[name])
    if len(names) > CURVES_MAX:
        click.echo(f"\nand {plural(len(names) - CURVES_MAX, 'metric')} more: --metric NAME shows one")
    if whole.artifacts:
        click.echo()
        table(
            ["FILE", "SIZE", "SAVED"],
            [
                [one.path, size(one.size_bytes), when(one.unix_ms)]
                for one in whole.artifacts[:FILES_SHOWN_MAX]
            ],
            right=("SIZE",),
        )
        if len(whole.artifacts) > FILES_SHOWN_MAX:
            click.echo(f"and {len(whole.artifacts) - FILES_SHOWN_MAX} more")


def _list(job: str, deployment: str, *, as_json: bool) -> None:
    with connect() as client, Progress("asking the server"):
        found = client.runs(job=job, deployment=deployment)
    if as_json:
        emit_json(found)
        return
    table(
        [
            "RUN", "JOB", "STATE", "EXIT", "DONE", "STEP", "SLICES", "STARTED", "RAN", "COST", "MODEL",
            "METRICS", "REASON",
        ],
        [_row(one) for one in found],
        right=("DONE", "STEP", "SLICES", "RAN", "COST", "MODEL"),
    )  # fmt: skip


def _row(one: RunView) -> list[str]:
    return [
        one.run[:ID_CHARS],
        one.job,
        one.state,
        one.exit,
        f"{one.progress:.0%}",
        str(one.step) if one.step >= 0 else "",
        str(one.slices),
        when(one.created_unix_ms),
        lasting(one.running_ms / 1000),
        dollars(one.cost_usd),
        "" if one.model_number is None else str(one.model_number),
        shortened(numbers(one.metrics)),
        shortened(one.reason or one.message),
    ]


def _fields(one: RunView) -> Sequence[tuple[str, str]]:
    step = f"step {one.step}, {when(one.checkpoint_unix_ms)}" if one.checkpoint_unix_ms else ""
    bound = f" of at most {dollars(one.max_cost_usd)}" if one.max_cost_usd else ""
    ahead = ""
    if one.forecast_usd is not None and one.left_s is not None:
        ahead = f"{dollars(one.forecast_usd)} in all, {lasting(one.left_s)} to go"
    return (
        ("run", one.run),
        ("job", one.job),
        ("state", one.state),
        ("exit", one.exit),
        ("because", one.reason),
        ("done", f"{one.progress:.0%}" if one.progress else ""),
        ("says", one.message),
        ("parameters", _json(one.params)),
        ("created", when(one.created_unix_ms)),
        ("started", when(one.started_unix_ms)),
        ("ended", when(one.ended_unix_ms)),
        (
            "ran for",
            f"{lasting(one.running_ms / 1000)} in {plural(one.slices, 'slice')}" if one.slices else "",
        ),
        ("checkpoint", step),
        ("failed since", plural(one.attempts, "time") if one.attempts and one.state not in FINAL else ""),
        ("priority", str(one.priority) if one.priority else ""),
        ("after", ", ".join(one.after)),
        ("started by", one.parent),
        ("datasets", ", ".join(f"{name}@{number}" for name, number in sorted(one.datasets.items()))),
        ("cost", f"{dollars(one.cost_usd)}{bound} ({one.price_plan})"),
        ("forecast", ahead),
        ("metrics", numbers(one.metrics) if len(one.metrics) <= CURVES_MAX else ""),
        ("result", "" if one.result is None else shortened(_json(one.result))),
        ("model", "" if one.model_number is None else f"{one.for_deployment} {one.model_number}"),
        ("model refused", one.model_refused),
        ("warning", one.warning),
    )


def _show_curve(name: str, points: Points) -> None:
    skipped = f"; {plural(points.skipped, 'value')} not finite" if points.skipped else ""
    if not points.values:
        click.echo(f"\n{click.style(one_line(name), bold=True)}  no value{skipped}")
        return
    last = f"{points.values[-1]:.4g} at step {points.steps[-1]}"
    click.echo(f"\n{click.style(one_line(name), bold=True)}  {last}{skipped}")
    for line in chart(points.steps, points.values):
        click.echo(line)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode() if value else ""


def _say(value: object, text: str, *, as_json: bool) -> None:
    if as_json:
        emit_json(value)
    else:
        click.echo(text)
