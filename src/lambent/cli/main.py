"""Where the command starts: finds the verb, runs it, and turns what goes wrong into one line and a code."""

from __future__ import annotations

import importlib
import keyword
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import click

from lambent.cli.complaint import complain, said
from lambent.core.errors import LambentError

FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130  # what a shell makes of SIGINT
TRACEBACK: Final = "LAMBENT_TRACEBACK"

# Verb → module of this package, in the order of the help. A module is loaded when its verb is used.
VERBS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "up": "up",
        "dev": "dev",
        "deploy": "deploy",
        "import": "importing",
        "invoke": "invoke",
        "result": "invoke",
        "cancel": "steering",
        "dlq": "dlq",
        "webhooks": "webhooks",
        "ls": "deployments",
        "show": "deployments",
        "logs": "deployments",
        "rollback": "deployments",
        "alias": "aliases",
        "promote": "aliases",
        "rm": "deployments",
        "chill": "temperature",
        "prime": "temperature",
        "ps": "deployments",
        "run": "running",
        "runs": "runs",
        "retry": "steering",
        "models": "models",
        "data": "data",
        "usage": "usage",
        "cost": "usage",
        "simulate": "simulate",
        "keys": "keys",
        "doctor": "doctor",
    }
)


class Verbs(click.Group):
    """The verbs, loaded one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"lambent.cli.{VERBS[cmd_name]}")
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        command: click.Command = getattr(module, name)
        return command


def _show_version(ctx: click.Context, _: click.Parameter, wanted: object) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"lambent {importlib.import_module('lambent').__version__}")
        ctx.exit()


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version.",
)
@click.pass_context
def lambent(ctx: click.Context) -> None:
    """Lambda for models, on your own machine.

    Clients find the server by LAMBENT_URL and LAMBENT_API_KEY, else by the server.json that a local server
    leaves in LAMBENT_STATE_DIR or the default state directory.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code: 0, 1 for a failure, 2 for misuse, 130 after Ctrl-C."""
    try:
        _replace_missing_streams()
        _tolerate_any_text()
        color = False if os.environ.get("NO_COLOR") else None
        code = lambent.main(list(arguments), prog_name="lambent", standalone_mode=False, color=color)
        sys.stdout.flush()
    except click.UsageError as error:
        complain(_misuse(error))
        return MISUSED
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        _let_go_of_output()
        return FAILED
    except LambentError as error:
        complain(said(error))
        return FAILED
    except click.ClickException as error:
        complain(error.format_message())
        return FAILED
    except OSError as error:
        _let_go_of_output()
        complain(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
        return FAILED
    except Exception as error:  # a bug of ours is told in one line, too
        if os.environ.get(TRACEBACK):
            raise
        what = f"{type(error).__name__}: {error}"
        complain(f"this is a bug in lambent: {what} ({TRACEBACK}=1 shows where)")
        return FAILED
    return code if isinstance(code, int) else 0


def _let_go_of_output() -> None:
    """What could not be written is lost: Python would complain once more when it flushes on exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _misuse(error: click.UsageError) -> str:
    where = error.ctx.command_path if error.ctx else "lambent"
    return f"{error.format_message()} (see {where} --help)"


def _replace_missing_streams() -> None:
    # Python has None for one that was closed by whoever started us, and then nothing can be printed at all.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  # it stays open


def _tolerate_any_text() -> None:
    # What users print may have characters that the terminal's encoding lacks; that is no reason to fail.
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
