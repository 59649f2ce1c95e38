"""What is deployed: `ls`, `show`, `logs`, `rollback`, `rm`, `ps`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from lambent.cli.options import connect, json_option
from lambent.cli.output import duration, emit_json, fields, parts, shortened, size, table, when
from lambent.cli.progress import Progress

if TYPE_CHECKING:
    from lambent.wire.api import DeploymentDetail, DeploymentView, RevisionView


@click.command()
@json_option
def ls(*, as_json: bool) -> None:
    """List the deployments."""
    with connect() as client, Progress("asking the server"):
        found = client.list()
    if as_json:
        emit_json(found)
        return
    table(
        ["NAME", "KIND", "REV", "TEMPERATURE", "WORKERS", "QUEUED", "MEMORY", "NOTE"],
        [
            [
                one.name,
                one.kind,
                str(one.number),
                one.temperature,
                str(one.workers),
                str(one.queued),
                size(one.pss_bytes),
                shortened(_note(one)),
            ]
            for one in found
        ],
        right=("REV", "WORKERS", "QUEUED", "MEMORY"),
    )


@click.command()
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """Show one deployment: revisions, wakes, limits."""
    with connect() as client, Progress("asking the server"):
        detail = client.show(name)
    if as_json:
        emit_json(detail)
        return
    _show_now(detail)
    click.echo()
    table(
        ["REV", "ACTIVE", "CREATED", "DIGEST", "ENTRYPOINT", "MODEL"],
        [_revision(revision) for revision in detail.revisions],
        right=("REV",),
    )
    if detail.wakes:
        click.echo()
        table(
            ["WOKEN", "FROM", "TOOK", "PARTS"],
            [
                [when(wake.at_unix_ms), wake.temperature, duration(wake.total_ms), parts(wake.parts_ms)]
                for wake in detail.wakes
            ],
            right=("TOOK",),
        )


@click.command()
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is printed from now on.")
@click.option(
    "-n", "--tail", type=click.IntRange(min=0), default=100, show_default=True, help="Lines to begin with."
)
@json_option
def logs(name: str, tail: int, *, follow: bool, as_json: bool) -> None:
    """Print what a deployment wrote to its output and error."""
    with connect() as client:
        for line in client.follow_logs(name, tail=tail) if follow else client.logs(name, tail=tail):
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
            ("url", one.url),
            ("created", when(one.created_unix_ms)),
            ("temperature", one.temperature),
            ("because", detail.kept_because),
            ("keep policy", detail.keep_policy),
            (
                "workers",
                _workers(one.workers, active.workers_min, active.workers_max) if active else str(one.workers),
            ),
            ("queued", str(one.queued)),
            ("memory", f"{size(one.pss_bytes)} ({size(one.private_bytes)} private)"),
            (
                "limits",
                f"memory {size(active.memory_bytes)}, timeout {active.timeout_s:g} s" if active else "",
            ),
            ("keep alive", f"{active.keep_alive_s:g} s" if active else ""),
            ("environment", ", ".join(sorted(active.env)) if active else ""),
            ("description", active.description if active else ""),
            ("note", _note(one)),
        ]
    )


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
    if one.unsafe:
        return f"cannot be primed: {'; '.join(one.unsafe)}"
    return "" if one.model_number is None else f"model {one.model_number}"
