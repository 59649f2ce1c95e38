"""The platforms that serving is compared with: how each is started, as it comes and as its makers tune it.

Each lives in an environment of its own below `.venv-peers`, made by `make bench-peers` from the exact
versions in `benchmarks/peers/serving/*.txt`. What is tuned, and where that is documented, stands in its
program there.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
import psutil

from benchmarks.http1 import Target, ask
from benchmarks.server import HOST, free_port

ROOT: Final = Path(__file__).parent.parent
ENVIRONMENTS: Final = ROOT / ".venv-peers"
PROGRAMS: Final = Path(__file__).parent / "peers" / "serving"
STARTS_S: Final = 90.0
STOPS_S: Final = 20.0
ANSWERS_S: Final = 5.0
POLL_S: Final = 0.1
OK: Final = 200
PROBE: Final = b'{"ready":true}'


class How(StrEnum):
    """In which state a platform is measured."""

    DEFAULTS = "defaults"
    TUNED = "tuned"


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What starts a platform: a program of its environment, its words, and more environment variables."""

    words: Sequence[str]
    environ: Mapping[str, str] = {}


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """A platform in one state. `start` is given a port and an empty folder."""

    name: str
    how: How
    environment: str
    path: str
    start: Callable[[int, Path], Start]

    def __str__(self) -> str:
        return f"{self.name}, {self.how}"


class Serving(msgspec.Struct, frozen=True):
    """A platform that answers: its root process and where to ask."""

    pid: int
    target: Target


def _ray(what: str, how: How) -> Callable[[int, Path], Start]:
    # Its workers are nice by default: another program on this machine must not push them aside.
    environ = {"RAY_worker_niceness": "0"}
    if how is How.TUNED:
        environ |= {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}

    def start(port: int, folder: Path) -> Start:
        return Start(
            words=("python", str(PROGRAMS / "ray_serve.py"), str(port), what, how),
            environ={**environ, "RAY_TMPDIR": str(folder)},
        )

    return start


def _bentoml(service: str) -> Callable[[int, Path], Start]:
    def start(port: int, folder: Path) -> Start:
        return Start(
            words=(
                *("bentoml", "serve", f"bentoml_echo:{service}", "--working-dir", str(PROGRAMS)),
                *("--host", HOST, "--port", str(port)),
            ),
            environ={"BENTOML_HOME": str(folder), "BENTOML_DO_NOT_TRACK": "True"},
        )

    return start


def _litserve(how: How) -> Callable[[int, Path], Start]:
    def start(port: int, _: Path) -> Start:
        return Start(words=("python", str(PROGRAMS / "litserve_echo.py"), str(port), how))

    return start


def _mlserver(settings: Mapping[str, object]) -> Callable[[int, Path], Start]:
    def start(port: int, folder: Path) -> Start:
        ports = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
        (folder / "settings.json").write_text(json.dumps({"host": HOST, **ports, **settings}))
        model = {"name": "echo", "implementation": "mlserver_echo.Echo"}
        (folder / "model-settings.json").write_text(json.dumps(model))
        return Start(words=("mlserver", "start", str(folder)), environ={"PYTHONPATH": str(PROGRAMS)})

    return start


ECHO: Final = (
    *(
        Platform(name="Ray Serve", how=how, environment="ray", path="/", start=_ray("echo", how))
        for how in How
    ),
    *(
        Platform(name="BentoML", how=how, environment="bentoml", path="/echo", start=_bentoml(service))
        for how, service in ((How.DEFAULTS, "Echo"), (How.TUNED, "TunedEcho"))
    ),
    *(
        Platform(name="LitServe", how=how, environment="litserve", path="/predict", start=_litserve(how))
        for how in How
    ),
    *(
        Platform(name="MLServer", how=how, environment="mlserver", path="/echo", start=_mlserver(settings))
        for how, settings in (
            (How.DEFAULTS, MappingProxyType({})),
            (How.TUNED, MappingProxyType({"parallel_workers": 0, "debug": False})),
        )
    ),
)
TWO_HOPS: Final = Platform(
    name="Ray Serve, two hops", how=How.TUNED, environment="ray", path="/", start=_ray("hops", How.TUNED)
)


@contextlib.contextmanager
def serving(platform: Platform, body: bytes) -> Iterator[Serving]:
    """The platform, started and answering; gone with all its processes when the block ends.

    Raises `FileNotFoundError` where it is not installed, `RuntimeError` where it does not start.
    """
    programs = ENVIRONMENTS / platform.environment / "bin"
    if not (programs.parent / ".ready").exists():
        raise FileNotFoundError(_why_not_installed(programs.parent))
    # A short name: Ray puts sockets below it, whose paths have at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        start = platform.start(port, folder)
        target = Target(host=HOST, port=port, path=platform.path, body=body)
        log = folder / "output.log"
        with _running([str(programs / start.words[0]), *start.words[1:]], start.environ, folder) as process:
            until_s = time.monotonic() + STARTS_S
            while not _answers(msgspec.structs.replace(target, body=PROBE)):
                if process.poll() is not None or time.monotonic() > until_s:
                    raise RuntimeError(f"{platform} did not start:\n{log.read_text()[-2000:]}")
                time.sleep(POLL_S)
            yield Serving(process.pid, target)


def _why_not_installed(environment: Path) -> str:
    log = environment / "install.log"
    said = log.read_text().strip().splitlines() if log.exists() else []
    errors = [line for line in said if line.startswith("ERROR")]
    return errors[-1] if errors else "it is not installed: run make bench-peers"


@contextlib.contextmanager
def _running(
    words: Sequence[str], environ: Mapping[str, str], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    # What they keep at home, such as Ray's token, stays in the folder.
    told = {**os.environ, "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environ}
    programs = str(Path(words[0]).parent)
    told["PATH"] = f"{programs}{os.pathsep}{told.get('PATH', '')}"
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, env=told
        )
    try:
        yield process
    finally:
        below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        try:
            process.wait(STOPS_S)
        except subprocess.TimeoutExpired:  # LitServe's root waits for children that it does not tell
            process.kill()
            process.wait()
        _end(below)


def _end(processes: Sequence[psutil.Process]) -> None:
    """Kill what is left of these; psutil knows a number that was given to another process."""
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(processes, timeout=STOPS_S)


def _answers(target: Target) -> bool:
    try:
        return ask(target, timeout_s=ANSWERS_S).status == OK
    except OSError:
        return False
