"""A server that belongs to a command: it is started with it and ends with it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from lambent.clock import SystemClock
from lambent.core.errors import PlatformFault
from lambent.settings import SERVER_FILE
from lambent.wire.api import ServerFile

SERVER: Final = "lambent.wiring"
LISTENS_S_MAX: Final = 120.0
STOPS_S_MAX: Final = 60.0
LOOK_S: Final = 0.02
PR_SET_PDEATHSIG: Final = 1


def command(*words: str) -> list[str]:
    """What starts a server with these flags."""
    # -P: a module in the current folder must not stand in for one of the standard library.
    return [sys.executable, "-P", "-m", SERVER, *words]


@contextmanager
def ephemeral() -> Iterator[ServerFile]:
    """A server on a free port that keeps nothing, while the block runs."""
    with tempfile.TemporaryDirectory(prefix="lambent-dev-") as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as out:
            process = start(["--state-dir", folder, "--port", "0"], out=out.fileno())
        try:
            yield listening(process, Path(folder), log)
        finally:
            stop(process)


def start(words: Sequence[str], *, out: int | None = None) -> subprocess.Popen[bytes]:
    """A server in a session of its own, so that Ctrl-C is for us. If we are killed, it is told to stop."""
    parent, libc = os.getpid(), ctypes.CDLL(None)

    def tie() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return subprocess.Popen(
        command(*words),
        stdout=out,
        stderr=out,
        start_new_session=True,
        preexec_fn=tie,  # noqa: PLW1509  # a command has one thread when it starts a server
    )


def listening(process: subprocess.Popen[bytes], state_dir: Path, log: Path | None = None) -> ServerFile:
    """Where it listens, once it does. Raises `PlatformFault` where it ends instead, or takes for ever."""
    from lambent.client.discovery import read_server_file

    clock = SystemClock()
    until_s = clock.now_s() + LISTENS_S_MAX
    while clock.now_s() < until_s:
        if process.poll() is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-1:] if log else []
            raise PlatformFault(last[0] if last else f"the server ended with status {process.returncode}")
        found = read_server_file(state_dir / SERVER_FILE)
        if found is not None and found.pid == process.pid:
            return found
        with suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_S)
    raise PlatformFault(f"the server did not listen within {LISTENS_S_MAX:g} s")


def stop(process: subprocess.Popen[bytes]) -> int:
    """Let it finish what it does; a second Ctrl-C, or too long a time, ends it at once."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(STOPS_S_MAX)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        process.kill()
        return process.wait()
