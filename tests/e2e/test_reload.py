"""`lambent dev` and `lambent up --reload`: a save is a deploy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from lambent.client.client import Client
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer, wait_until, wait_until_ended

CODE = "def handler(event, context):\n    print('printed', {number})\n    return {number}\n"
Write = Callable[[str, str], Path]


class Running:
    """A command and what it has printed, which is in a file."""

    def __init__(self, process: subprocess.Popen[bytes], printed: Path) -> None:
        self.process = process
        self._printed = printed

    @property
    def lines(self) -> list[str]:
        return self._printed.read_text().splitlines()

    def says(self, text: str) -> str:
        """The first line with `text`, as soon as there is one."""
        wait_until(lambda: any(text in line for line in self.lines) or self.process.poll() is not None, text)
        found = [line for line in self.lines if text in line]
        assert found, self.lines
        return found[0]

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENT_S)


@contextmanager
def lambent(state_dir: Path, *words: str) -> Iterator[Running]:
    """A command while it runs; it has not ended by itself."""
    environ = {**os.environ, "LAMBENT_STATE_DIR": str(state_dir), "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
    environ.pop("LAMBENT_URL", None)
    environ.pop("LAMBENT_API_KEY", None)
    printed = state_dir.parent / "printed"
    with printed.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "lambent.cli.main", *words], env=environ, stdout=out, stderr=out
        )
    running = Running(process, printed)
    below: list[psutil.Process] = []
    try:
        yield running
        below = psutil.Process(process.pid).children(recursive=True)
        assert running.interrupt() == 0, running.lines
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(PATIENT_S)
    wait_until_ended(below)


def test_dev_deploys_each_save_shows_errors_and_prints_the_log(server: RunningServer, write: Write) -> None:
    code = write("app.py", CODE.format(number=1))
    with (
        lambent(server.state_dir, "dev", f"{code}:handler", "--name", "reloaded") as dev,
        Client(server.url, server.about["api_key"]) as client,
    ):
        assert f"{server.url}/invoke/reloaded" in dev.says("reloaded  revision 1")
        assert client.invoke("reloaded") == 1
        dev.says("printed 1")
        code.write_text("def handler(event, context)\n")
        assert "app.py:1" in dev.says("error: ")
        assert client.invoke("reloaded") == 1
        code.write_text("raise ValueError('not today')\n")
        dev.says("not today")
        assert client.invoke("reloaded") == 1
        code.write_text(CODE.format(number=2))
        dev.says("reloaded  revision 2")
        assert client.invoke("reloaded") == 2
        client.remove("reloaded")


@pytest.mark.parametrize("target", ["slip.py", "slip.py:handler"])
def test_dev_of_a_file_that_is_not_there_does_not_wait_for_it(server: RunningServer, target: str) -> None:
    done = server.cli("dev", target)
    assert (done.returncode, done.stderr) == (1, f"error: {target} is not there\n")


def test_dev_without_a_server_has_one_of_its_own_which_ends_with_it(tmp_path: Path, write: Write) -> None:
    code = write("app.py", CODE.format(number=1))
    with lambent(tmp_path / "none", "dev", f"{code}:handler", "--name", "alone") as dev:
        words = dev.says("others reach it with").split()
        url, key = (word.partition("=")[2] for word in words if word.startswith("LAMBENT_"))
        dev.says("alone  revision 1")
        with Client(url, key) as client:
            assert client.invoke("alone") == 1
            code.write_text(CODE.format(number=2))
            dev.says("alone  revision 2")
            assert client.invoke("alone") == 2
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("ephemeral", [(), ("--ephemeral",)])
def test_up_with_reload_is_a_server_that_deploys_its_targets(
    tmp_path: Path, write: Write, ephemeral: tuple[str, ...]
) -> None:
    # Its own: what it prints, and its state, lie in the same folder and change.
    write("lambent.toml", '[app]\ntarget = "app.py:up"\ninclude = ["app.py"]\n')
    code = write("app.py", CODE.format(number=1).replace("handler", "up"))
    words = ("up", "--port", "0", *ephemeral, "--reload", str(code.parent))
    with lambent(tmp_path / "state", *words) as up:
        told = up.says("the key is in ").partition("the key is in ")[2]
        about = json.loads(Path(told).read_text())
        up.says("up  revision 1")
        with Client(about["url"], about["api_key"]) as client:
            assert client.invoke("up") == 1
            code.write_text(code.read_text().replace("return 1", "return 2"))
            up.says("up  revision 2")
            assert client.invoke("up") == 2
    assert (tmp_path / "state").exists() == (not ephemeral)


def test_up_with_reload_and_nothing_to_deploy_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "lambent.cli.main", "up", "--reload", "--state-dir", str(tmp_path / "state")],
        capture_output=True, text=True, timeout=PATIENT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "there is no lambent.toml here" in done.stderr
