"""Servers for a measurement: Lambent with a fresh state directory, and uvicorn with a peer's app."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.http1 import Reply, Target, ask
from lambent import Client

HOST: Final = "127.0.0.1"
STARTS_S: Final = 60.0
STOPS_S: Final = 20.0
VERB_S: Final = 120.0
REST_S: Final = 60.0
POLL_S: Final = 0.02
SETTLE_S: Final = 0.3
OK: Final = 200


class Lambent:
    """A running server."""

    def __init__(self, state_dir: Path, pid: int, port: int, api_key: str) -> None:
        self.state_dir: Final = state_dir
        self.pid: Final = pid
        self.port: Final = port
        self._key: Final = api_key

    def target(self, path: str, body: bytes = b"", *, method: str = "POST") -> Target:
        """A request to this server with its key."""
        headers = {"Authorization": f"Bearer {self._key}"}
        return Target(host=HOST, port=self.port, path=path, method=method, headers=headers, body=body)

    def deploy(self, target: Path | str, name: str = "", **settings: str | float) -> None:
        """`lambent deploy`, as a user would. Raises `RuntimeError` with what it printed."""
        words = ["deploy", str(target), *(["--name", name] if name else [])]
        for key, value in settings.items():
            words += ["--set", f"{key}={value}"]
        environ = {**os.environ, "LAMBENT_STATE_DIR": str(self.state_dir)}
        for told in ("LAMBENT_URL", "LAMBENT_API_KEY"):
            environ.pop(told, None)
        done = subprocess.run(
            [sys.executable, "-m", "lambent.cli.main", *words],
            env=environ, capture_output=True, text=True, timeout=VERB_S, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"lambent {' '.join(words)}: {done.stderr or done.stdout}")

    def client(self) -> Client:
        """What a user's program holds: for many deploys, since the command starts a Python for each."""
        return Client(f"http://{HOST}:{self.port}", self._key)

    def invoke(self, name: str, body: bytes) -> Reply:
        """One invocation over a new connection. Raises `RuntimeError` unless it went well."""
        reply = ask(self.target(f"/invoke/{name}", body))
        if reply.status != OK:
            raise RuntimeError(f"{name} answered {reply.status}: {reply.body[:400]!r}")
        return reply

    def rest(self, name: str, temperature: str) -> None:
        """Wait until it has no workers and this temperature. Raises `TimeoutError` that says why not."""
        until_s = time.monotonic() + REST_S
        while (seen := self.view(name))["temperature"] != temperature or seen["workers"]:
            if time.monotonic() > until_s:
                why = "; ".join(seen["unsafe"]) or seen["last_error"] or f"{seen['workers']} workers"
                raise TimeoutError(f"{name} is {seen['temperature']} and not {temperature}: {why}")
            time.sleep(POLL_S)
        # What the last question cost is over before anything is measured, and a worker is parked again.
        time.sleep(SETTLE_S)

    def staff(self, name: str, workers: int) -> None:
        """Wait until it has so many workers. Raises `TimeoutError`."""
        until_s = time.monotonic() + REST_S
        while (seen := self.view(name))["workers"] != workers:
            if time.monotonic() > until_s:
                raise TimeoutError(f"{name} has {seen['workers']} workers and not {workers}")
            time.sleep(POLL_S)
        time.sleep(SETTLE_S)

    def view(self, name: str) -> Mapping[str, Any]:
        """A deployment as `GET /api/v1/deployments/{name}` shows it."""
        reply = ask(self.target(f"/api/v1/deployments/{name}", method="GET"))
        if reply.status != OK:
            raise RuntimeError(f"{name}: {reply.status} {reply.body[:400]!r}")
        deployment: Mapping[str, Any] = json.loads(reply.body)["deployment"]
        return {"unsafe": (), "last_error": "", **deployment}


@contextlib.contextmanager
def lambent(state_dir: Path, *flags: str) -> Iterator[Lambent]:
    """`lambent up` on a free port with `flags`; stopped when the block ends, and its processes with it."""
    state_dir.mkdir(parents=True, exist_ok=True)
    about = state_dir / "server.json"
    about.unlink(missing_ok=True)
    words = [
        "-m",
        "lambent.wiring",
        "--state-dir",
        str(state_dir),
        "--host",
        HOST,
        "--port",
        str(free_port()),
        *flags,
    ]
    with _process(words, state_dir / "bench.log") as process:
        _wait(process, about.exists, state_dir / "bench.log")
        told = json.loads(about.read_text())
        port = int(told["url"].rpartition(":")[2].rstrip("/"))
        yield Lambent(state_dir, process.pid, port, told["api_key"])


@contextlib.contextmanager
def uvicorn(app: str, path: str, folder: Path) -> Iterator[tuple[int, Target]]:
    """One uvicorn process (uvloop, httptools) with `app`; its pid and where to ask."""
    port = free_port()
    words = [
        *(
            "-m",
            "uvicorn",
            app,
            "--host",
            HOST,
            "--port",
            str(port),
            "--loop",
            "uvloop",
            "--http",
            "httptools",
        ),
        *("--no-access-log", "--log-level", "warning", "--lifespan", "off"),
    ]
    log = folder / f"{app.replace(':', '.')}.log"
    with _process(words, log) as process:
        _wait(process, lambda: listens(port), log)
        yield process.pid, Target(host=HOST, port=port, path=path)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _process(words: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *words], stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOPS_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], ready: Any, log: Path) -> None:
    until_s = time.monotonic() + STARTS_S
    while not ready():
        if process.poll() is not None or time.monotonic() > until_s:
            raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text()[-2000:]}")
        time.sleep(POLL_S)


def listens(port: int) -> bool:
    """Whether somebody does, on this machine."""
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False
