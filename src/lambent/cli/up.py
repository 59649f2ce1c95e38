"""`up`: become the server."""

from __future__ import annotations

import os
import sys
from typing import Final, NoReturn

import click

from lambent.core.errors import InvalidSpec
from lambent.core.policies.base import PolicyName
from lambent.core.spec import parse_size

SERVER: Final = "lambent.wiring"


def _size(_: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    try:
        return None if text is None else str(parse_size(text))
    except InvalidSpec as error:
        raise click.BadParameter(error.message, param=parameter) from error


@click.command()
@click.option(
    "--state-dir", metavar="DIR", help="Where everything is kept; else LAMBENT_STATE_DIR or the default."
)
@click.option("--host", help="The address to listen on; 127.0.0.1 unless told.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The port to listen on; 8700 unless told, 0 for a free one."
)
@click.option(
    "--memory-budget",
    metavar="SIZE",
    callback=_size,
    help="What templates and workers may take together, such as 4GiB; else 60 % of this machine's memory.",
)
@click.option(
    "--keep-policy",
    type=click.Choice([name.value for name in PolicyName]),
    help="What decides which deployments stay ready; economic unless told. `lambent simulate` compares them.",
)
@click.option("--ephemeral", is_flag=True, help="Keep nothing after the end.")
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False), help="A certificate chain, as PEM.")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), help="Its key, as PEM.")
def up(
    state_dir: str | None,
    host: str | None,
    port: int | None,
    memory_budget: str | None,
    keep_policy: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    *,
    ephemeral: bool,
) -> NoReturn:
    """Run the server until Ctrl-C.

    SIGINT and SIGTERM let it finish what it is doing.
    """
    if bool(tls_cert) != bool(tls_key):
        raise click.UsageError("--tls-cert and --tls-key go together")
    flags = {
        "--state-dir": state_dir,
        "--host": host,
        "--port": None if port is None else str(port),
        "--memory-budget": memory_budget,
        "--keep-policy": keep_policy,
        "--tls-cert": tls_cert,
        "--tls-key": tls_key,
    }
    told = [word for flag, value in flags.items() if value is not None for word in (flag, value)]
    # -P: a module in the current folder must not stand in for one of the standard library.
    words = [sys.executable, "-P", "-m", SERVER, *told, *(["--ephemeral"] if ephemeral else [])]
    sys.stdout.flush()
    sys.stderr.flush()
    # The server replaces this process, so that whoever started it signals and waits for the server itself.
    os.execv(sys.executable, words)
