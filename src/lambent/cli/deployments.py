"""What is deployed: `ls`, `show`, `logs`, `rollback`, `rm`, `ps`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
import msgspec

from lambent.cli.options import connect, json_option
from lambent.cli.output import emit_json, fields, shortened, size, table, when
from lambent.cli.progress import Progress
from lambent.cli.wakes import in_short, show_wakes
from lambent.clock import SystemClock
from lambent.core.spec import Keep, Kind, Program
from lambent.wire.process import NOT_FORKED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambent.wire.api import DeploymentDetail, DeploymentView, RevisionView

UNSAFE_HINT: Final = "Each worker loads by itself. If this is harmless, deploy with --set fork_unsafe=allow."
PROGRAM_HINT: Final = "Each worker starts it. What it takes to wake is in `lambent show NAME --wakes`."
OVERRULED_HINT: Final = (
    "It may be forked nevertheless: fork_unsafe=allow, and a fork of it was seen to serve."
)


@click.command()
@json_option
def ls(*, as_json: bool) -> None:
    """List the deployments.

    PRIVATE is the memory that a deployment's template and workers map alone, SHARED their part of what they
    share with each other and with other processes.
    """
    with connect() as client, Progress("asking the server"):
        found = client.list()
    if as_json:
        emit_json(found)
        return
    table(
        [
            "NAME", "KIND", "REV", "TEMPERATURE", "KEEP", "WORKERS", "QUEUED", "PRIVATE", "SHARED",
            "LAST WAKE", "NOTE",
        ],
        [_line(one, now_unix_ms=SystemClock().unix_ms()) for one in found],
        right=("REV", "WORKERS", "QUEUED", "PRIVATE", "SHARED"),
    )  # fmt: skip


@click.command()
@click.argument("name")
@click.option("--wakes", is_flag=True, help="What each of the last wakes was made of, and how all spread.")
@json_option
def show(name: str, *, wakes: bool, as_json: bool) -> None:
    """Show one deployment: its revisions and limits, or what its wakes were made of.

    The JSON holds everything, with --wakes or without.
    """
    with connect() as client, Progress("asking the server"):
        detail = client.show(name)
    if as_json:
        emit_json(detail)
        return
    if wakes:
        show_wakes(name, detail.wakes, detail.wake_statistics)
        return
    _show_now(detail)
    click.echo()
    table(
        ["REV", "ACTIVE", "CREATED", "DIGEST", "ENTRYPOINT", "MODEL"],
        [_revision(revision) for revision in detail.revisions],
        right=("REV",),
    )
    if detail.timers:
        from lambent.cli.timers import TIMER_COLUMNS, timer_line

        click.echo()
        table(TIMER_COLUMNS, [timer_line(one) for one in detail.timers])
    if detail.aliases:
        from lambent.cli.aliases import HEADER, line

        click.echo()
        table(HEADER, [line(one) for one in detail.aliases], right=("REV",))


@click.command()
@click.argument("name", default="")
@click.option("--run", default="", help="Of this run of a job alone, over all its slices.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is printed from now on.")
@click.option(
    "-n", "--tail", type=click.IntRange(min=0), default=100, show_default=True, help="Lines to begin with."
)
@json_option
def logs(name: str, run: str, tail: int, *, follow: bool, as_json: bool) -> None:
    """Print what a deployment, or a run of a job, wrote to its output and error."""
    if bool(name) == bool(run):
        raise click.UsageError("name a deployment, or a run with --run")
    with connect() as client:
        if run:
            from lambent.cli.runs import resolved

            of, whose = client.records, resolved(client, run).run
            lines = of.follow_logs(whose, tail=tail) if follow else of.logs(whose, tail=tail)
        else:
            lines = client.follow_logs(name, tail=tail) if follow else client.logs(name, tail=tail)
        for line in lines:
            click.echo(msgspec.json.encode({"line": line}) if as_json else line)


@click.command()
@click.argument("name")
@click.option("--to", type=click.IntRange(min=1), help="The revision's number; else the one before.")
@json_option
def rollback(name: str, to: int | None, *, as_json: bool) -> None:
    """Let an earlier revision answer again."""
    with connect() as client, Progress(f"rolling {name} back"):
        view = client.rollback(name, to)
    if as_json:
        emit_json(view)
    else:
        click.echo(f"{view.name} is at revision {view.number} again")


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@json_option
def rm(names: tuple[str, ...], *, as_json: bool) -> None:
    """Remove deployments with their revisions, models and logs."""
    with connect() as client:
        for name in names:
            with Progress(f"removing {name}"):
                client.remove(name)
            if not as_json:
                click.echo(f"removed {name}")
    if as_json:
        emit_json({"removed": names})


@click.command()
@json_option
def ps(*, as_json: bool) -> None:
    """List the server's processes with their memory."""
    with connect() as client, Progress("asking the server"):
        found = client.processes()
    if as_json:
        emit_json(found)
        return
    table(
        ["PID", "ROLE", "DEPLOYMENT", "MEMORY", "PRIVATE"],
        [
            [str(one.pid), one.role, one.deployment, size(one.pss_bytes), size(one.private_bytes)]
            for one in found
        ],
        right=("PID", "MEMORY", "PRIVATE"),
    )
    click.echo(f"{len(found)} processes, {size(sum(one.pss_bytes for one in found))} in all")


def _show_now(detail: DeploymentDetail) -> None:
    one = detail.deployment
    active = next((revision.spec for revision in detail.revisions if revision.active), None)
    fields(
        [
            ("name", one.name),
            ("kind", one.kind),
            ("runtime", active.runtime if active and active.runtime is not Program.NATIVE else ""),
            ("command", active.command if active else ""),
            ("url", one.url),
            ("created", when(one.created_unix_ms)),
            ("temperature", one.temperature),
            ("because", detail.kept_because),
            ("keep policy", detail.keep_policy),
            ("keep", _pin(one)),
            *_listed("not primed", one.unsafe, PROGRAM_HINT if NOT_FORKED in one.unsafe else UNSAFE_HINT),
            *_listed("overruled", one.overruled, OVERRULED_HINT),
            (
                "workers",
                _workers(one.workers, active.workers_min, active.workers_max) if active else str(one.workers),
            ),
            ("scheduled workers", active.workers_min_schedule if active else ""),
            ("queued", str(one.queued)),
            ("memory", f"{_memory(one, one.private_bytes)} private, {_memory(one, one.shared_bytes)} shared"),
            ("last wake", _last_wake(one)),
            (
                "limits",
                f"memory {size(active.memory_bytes)}, timeout {active.timeout_s:g} s" if active else "",
            ),
            ("keep alive", f"{active.keep_alive_s:g} s" if active else ""),
            ("environment", ", ".join(sorted(active.env)) if active else ""),
            ("description", active.description if active else ""),
            ("note", "" if one.unsafe or one.overruled else _note(one)),
        ]
    )


def _line(one: DeploymentView, *, now_unix_ms: int) -> list[str]:
    return [
        one.name,
        one.kind,
        str(one.number),
        "-" if one.kind is Kind.JOB else one.temperature,
        _pin(one) or "-",
        str(one.workers),
        str(one.queued),
        _memory(one, one.private_bytes),
        _memory(one, one.shared_bytes),
        in_short(one.last_wake, now_unix_ms=now_unix_ms),
        shortened(_note(one)),
    ]


def _memory(one: DeploymentView, size_bytes: int) -> str:
    """A dash where no process is there to take any."""
    return size(size_bytes) if one.pss_bytes else "-"


def _pin(one: DeploymentView) -> str:
    return "" if one.keep is Keep.AUTO else one.keep


def _last_wake(one: DeploymentView) -> str:
    if one.last_wake is None:
        return ""
    told = in_short(one.last_wake, now_unix_ms=SystemClock().unix_ms())
    return f"{told} (lambent show {one.name} --wakes tells all)"


def _listed(name: str, reasons: Sequence[str], hint: str) -> list[tuple[str, str]]:
    """One line for each reason, and what there is to be done about them."""
    names = [name, *[" "] * len(reasons)]
    return list(zip(names, [*reasons, hint], strict=True)) if reasons else []


def _workers(now: int, at_least: int, at_most: int) -> str:
    return f"{now} (from {at_least} to {at_most})"


def _revision(revision: RevisionView) -> list[str]:
    spec = revision.spec
    return [
        str(revision.number),
        "*" if revision.active else "",
        when(revision.created_unix_ms),
        revision.revision[:19],
        spec.entrypoint or spec.adapter,
        "" if revision.model_number is None else str(revision.model_number),
    ]


def _note(one: DeploymentView) -> str:
    """What an operator should know first."""
    if one.last_error:
        return f"failed to load: {one.last_error}"
    if one.needs_model:
        return "no model yet: the first invocation starts its training"
    if one.unsafe and NOT_FORKED not in one.unsafe:
        return f"cannot be primed: {'; '.join(one.unsafe)}"
    if one.overruled:
        return f"may be forked although {'; '.join(one.overruled)}"
    return "" if one.model_number is None else f"model {one.model_number}"
