"""`up`: become the server."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from lambent.cli import attached
from lambent.core.errors import InvalidSpec
from lambent.core.policies.base import PolicyName
from lambent.core.settings import parse_size
from lambent.settings import default_state_dir

if TYPE_CHECKING:
    from lambent.cli.reloading import Reloader

MANIFEST: Final = "lambent.toml"


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
    "--grpc-port",
    metavar="PORT",
    help="The port for gRPC; the next one unless told, 0 for a free one, off for none.",
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
@click.option(
    "--aws-auth",
    type=click.Choice(["verify", "none"]),
    help="Whether AWS's clients must sign with a key of this server; verify unless told, none lets all in.",
)
@click.option(
    "--otlp-endpoint",
    metavar="URL",
    help="Send OpenTelemetry spans there, such as http://127.0.0.1:4318; else as OTEL_… variables say.",
)
@click.option("--ephemeral", is_flag=True, help="Keep nothing after the end.")
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False), help="A certificate chain, as PEM.")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), help="Its key, as PEM.")
@click.option("--reload", "reloads", is_flag=True, help="Deploy TARGETS, again whenever one is saved.")
@click.argument("targets", nargs=-1)
def up(
    targets: tuple[str, ...],
    state_dir: str | None,
    host: str | None,
    port: int | None,
    grpc_port: str | None,
    memory_budget: str | None,
    keep_policy: str | None,
    aws_auth: str | None,
    otlp_endpoint: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    *,
    ephemeral: bool,
    reloads: bool,
) -> NoReturn:
    """Run the server until Ctrl-C.

    SIGINT and SIGTERM let it finish what it is doing.

    With --reload it deploys TARGETS, or else the folder that it is started in, whenever a file of theirs is
    saved.
    """
    if targets and not reloads:
        raise click.UsageError("targets are for --reload")
    if bool(tls_cert) != bool(tls_key):
        raise click.UsageError("--tls-cert and --tls-key go together")
    flags = {
        "--state-dir": state_dir,
        "--host": host,
        "--port": None if port is None else str(port),
        "--grpc-port": grpc_port,
        "--memory-budget": memory_budget,
        "--keep-policy": keep_policy,
        "--aws-auth": aws_auth,
        "--otlp-endpoint": otlp_endpoint,
        "--tls-cert": tls_cert,
        "--tls-key": tls_key,
    }
    if reloads:
        with ExitStack() as closing:
            made = closing.enter_context(tempfile.TemporaryDirectory()) if ephemeral else None
            folder = Path(made or flags.pop("--state-dir") or default_state_dir(os.environ)).expanduser()
            flags["--state-dir"] = None
            sys.exit(_reload(_told(flags), _targets(targets), folder.absolute()))
    told = _told(flags)
    sys.stdout.flush()
    sys.stderr.flush()
    # The server replaces this process, so that whoever started it signals and waits for the server itself.
    os.execv(sys.executable, attached.command(*told, *(["--ephemeral"] if ephemeral else [])))


def _told(flags: Mapping[str, str | None]) -> list[str]:
    return [word for flag, value in flags.items() if value is not None for word in (flag, value)]


def _reload(told: Sequence[str], targets: Sequence[str], folder: Path) -> int:
    """Run a server with these flags and this state directory; deploy on each save until it ends."""
    from lambent.cli.dev import interrupted_by_sigterm
    from lambent.cli.reloading import Reloader
    from lambent.client.client import Client

    with interrupted_by_sigterm():
        process = attached.start([*told, "--state-dir", str(folder)])
        try:
            about = attached.listening(process, folder)
            with Client(about.url, about.api_key) as client:
                reloader = Reloader(client, targets, settings={})
                threading.Thread(target=_stop_with, args=(process, reloader), daemon=True).start()
                reloader.run()
        except KeyboardInterrupt:
            pass
        finally:
            code = attached.stop(process)
        return code


def _stop_with(process: subprocess.Popen[bytes], reloader: Reloader) -> None:
    process.wait()
    reloader.stop()


def _targets(targets: Sequence[str]) -> Sequence[str]:
    if not targets and not Path(MANIFEST).exists():
        raise click.UsageError(f"name what to deploy: there is no {MANIFEST} here")
    return targets or (".",)
