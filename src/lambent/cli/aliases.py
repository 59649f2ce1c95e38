"""`alias NAME set|ls|rm` and `promote`: who answers under which name, and how much of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from lambent.cli.canary import bounds
from lambent.cli.options import connect, json_option
from lambent.cli.output import emit_json, shortened, table, when
from lambent.cli.progress import Progress
from lambent.core.errors import InvalidSpec
from lambent.core.routing import Weights, read_weights

if TYPE_CHECKING:
    from lambent.wire.aliases import AliasView, TrialView

HEADER: Final = ("ALIAS", "REV", "ON TRIAL", "STICKY BY", "BOUNDS", "SINCE", "NOTE")
OWN_SHOWN: Final = "(its own name)"


class AliasAt(click.ParamType[tuple[str, Weights]]):
    """`prod=3` or `prod=3:90,4:10`."""

    name = "alias"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        alias, equals, weights = str(value).partition("=")
        if not (alias and equals):
            self.fail(f"{value!r} is not of the form ALIAS=REVISION, such as prod=3 or prod=3:90,4:10")
        try:
            return alias, read_weights(weights)
        except InvalidSpec as error:
            self.fail(error.message)


@click.group(invoke_without_command=True)
@click.argument("name")
@json_option
@click.pass_context
def alias(ctx: click.Context, name: str, *, as_json: bool) -> None:
    """Set, list or take away the aliases of NAME; alone, it lists them.

    An alias stands for one revision, or splits its traffic between two while one of them is on trial. Callers
    name it in the header Lambent-Alias, or as ?alias=.
    """
    ctx.obj = name
    if ctx.invoked_subcommand is None:
        _list(name, as_json=as_json)


@alias.command("set")
@click.argument("what", metavar="ALIAS=REVISION", type=AliasAt())
@bounds
@json_option
@click.pass_obj
def put(name: str, /, what: tuple[str, Weights], *, as_json: bool, **terms: Any) -> None:
    """Let an alias stand for a revision, as in prod=3, or for two, as in prod=3:90,4:10.

    Of two, the second is on trial with so many percent of the traffic. With a bound it goes back by itself as
    soon as it is beyond doubt that it crosses it and the first one does not.
    """
    with connect() as client, Progress(f"setting {what[0]}"):
        made = client.aliases.put(name, *what, **terms)
    emit_json(made) if as_json else click.echo(f"{name}: {_said(made)}")


@alias.command("ls")
@json_option
@click.pass_obj
def ls(name: str, *, as_json: bool) -> None:
    """List the aliases, and how what is on trial does."""
    _list(name, as_json=as_json)


@alias.command("rm")
@click.argument("which", metavar="ALIAS")
@json_option
@click.pass_obj
def rm(name: str, which: str, *, as_json: bool) -> None:
    """Take an alias away. What it stood for stays deployed."""
    with connect() as client, Progress(f"removing {which}"):
        client.aliases.remove(name, which)
    emit_json({"removed": which}) if as_json else click.echo(f"removed {which} of {name}")


@click.command()
@click.argument("name")
@click.option("--alias", "which", default="", help="What is on trial under this alias; else NAME's own.")
@click.option(
    "--percent",
    type=click.FloatRange(0, 100),
    default=100.0,
    help="Give it so much of the traffic; with all of it, which is the default, it takes over.",
)
@json_option
def promote(name: str, which: str, percent: float, *, as_json: bool) -> None:
    """Let what is on trial take over, or have more of the traffic."""
    with connect() as client, Progress(f"promoting {name}"):
        made = client.aliases.promote(name, alias=which, percent=percent)
    emit_json(made) if as_json else click.echo(f"{name}: {_said(made)}")


def _list(name: str, *, as_json: bool) -> None:
    with connect() as client, Progress("asking the server"):
        found = client.aliases.all(name)
    if as_json:
        emit_json(found)
    else:
        table(HEADER, [line(one) for one in found], right=("REV",))


def line(one: AliasView) -> list[str]:
    """One alias, as a row of a table."""
    return [
        one.name or OWN_SHOWN,
        str(one.revision),
        "" if one.candidate is None else f"{one.candidate}: {one.percent:g} %",
        one.sticky_header,
        _bounds(one),
        when(one.changed_unix_ms),
        shortened(_standing(one.trial) if one.trial else one.note),
    ]


def _said(one: AliasView) -> str:
    who = one.name or "it"
    if one.candidate is None:
        return f"{who} is revision {one.revision}"
    rest = f"{100 - one.percent:g} % of {who}" if one.name else f"{100 - one.percent:g} %"
    return f"revision {one.revision} gets {rest}, revision {one.candidate} {one.percent:g} %"


def _bounds(one: AliasView) -> str:
    told: list[str] = []
    if one.max_error_rate is not None:
        told.append(f"errors {100 * one.max_error_rate:g} %")
    if one.max_p95_ms is not None:
        told.append(f"p95 {one.max_p95_ms:g} ms")
    if one.promote_after_s is not None:
        told.append(f"takes over after {one.promote_after_s:g} s")
    return ", ".join(told)


def _standing(trial: TrialView) -> str:
    return f"{trial.failed} of {trial.calls} calls failed, {trial.slow} slow; {trial.state}"
