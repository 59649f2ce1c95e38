"""A command line, and the server that it finds."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from lambent.cli import progress
from lambent.cli.main import run
from tests.support.fake_control import API_KEY, FakeControl
from tests.support.patience import PATIENT_S


class Printed(msgspec.Struct, frozen=True):
    """What a command left behind."""

    code: int
    out: str
    err: str


Lambent = Callable[..., Printed]


@pytest.fixture(autouse=True)
def _no_server_but_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBENT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("NO_COLOR", "1")
    # What a user of a slow machine is told meanwhile is in `test_progress`, and nowhere else.
    monkeypatch.setattr(progress, "PLAIN_AFTER_S", PATIENT_S)


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeControl]:
    with FakeControl() as control:
        monkeypatch.setenv("LAMBENT_URL", control.url)
        monkeypatch.setenv("LAMBENT_API_KEY", API_KEY)
        yield control


@pytest.fixture
def lambent(capfd: pytest.CaptureFixture[str]) -> Lambent:
    def command(*words: str) -> Printed:
        code = run(words)
        out, err = capfd.readouterr()
        return Printed(code, out, err)

    return command
