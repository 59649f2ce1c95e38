"""A real server in a process of its own, for tests that go through the front door."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import urllib3

from tests.support.patience import PATIENT_S


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class RunningServer:
    """Started by `start`, stopped by `stop` or `kill`; may be started again on the same state."""

    state_dir: Path
    environ: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    about: dict[str, Any] = field(default_factory=dict)
    http: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, maxsize=8))

    def start(self) -> RunningServer:
        self.state_dir.mkdir(parents=True, exist_ok=True)
        about = self.state_dir / "server.json"
        about.unlink(missing_ok=True)
        with (self.state_dir / "test-server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lambent.wiring", "--state-dir", str(self.state_dir), "--port", "0"],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environ},
            )
        wait_until(lambda: about.exists() or self._ended(), "the server to listen")
        assert not self._ended(), self.log()
        self.about = json.loads(about.read_text())
        return self

    def _ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def log(self) -> str:
        return (self.state_dir / "test-server.log").read_text()

    @property
    def url(self) -> str:
        return str(self.about["url"])

    def request(
        self, method: str, path: str, body: bytes | None = None, *, key: str | None = None, **headers: str
    ) -> Reply:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        token = self.about["api_key"] if key is None else key
        if token:
            sent["Authorization"] = f"Bearer {token}"
        answer = self.http.request(method, self.url + path, body=body, headers=sent, timeout=PATIENT_S)
        return Reply(answer.status, answer.headers, answer.data)

    def invoke(self, name: str, event: object = None, **headers: str) -> Reply:
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        return self.request("POST", f"/invoke/{name}", body, Content_Type="application/json", **headers)

    def cli(
        self, *words: str, cwd: Path | None = None, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "LAMBENT_STATE_DIR": str(self.state_dir)}
        environ.pop("LAMBENT_URL", None)
        environ.pop("LAMBENT_API_KEY", None)
        done = subprocess.run(
            [sys.executable, "-m", "lambent.cli.main", *words],
            env=environ,
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENT_S,
            check=False,
        )
        # Without the signs of life, such as "deploying ...", that only a slow machine prints.
        done.stderr = "".join(line for line in done.stderr.splitlines(True) if not line.endswith(" ...\n"))
        return done

    def deploy(self, target: Path | str, *words: str) -> str:
        done = self.cli("deploy", str(target), *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deployment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.request("GET", f"/api/v1/deployments/{name}").json()["deployment"]
        return found

    def processes(self) -> list[psutil.Process]:
        """The server and everything below it."""
        assert self.process is not None
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def stop(self) -> int:
        assert self.process is not None
        if not self._ended():
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENT_S)

    def kill(self) -> None:
        """As a power cut would, for the process."""
        assert self.process is not None
        below = self.processes()[1:]
        self.process.kill()
        self.process.wait(PATIENT_S)
        wait_until_ended(below)


def is_running(pid: int) -> bool:
    """Whether it runs: a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] != "Z"


def wait_until_ended(processes: Sequence[psutil.Process]) -> None:
    """Until none of them runs. A zombie has ended too: who would have to reap it differs between machines."""
    wait_until(lambda: not any(map(_runs, processes)), f"the end of {processes}")


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def wait_until(true: Any, what: str) -> None:
    """Poll until `true()`; a test that talks to real processes has nothing else to wait on."""
    deadline = time.monotonic() + PATIENT_S
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENT_S:g} s for {what}")
        time.sleep(0.02)
