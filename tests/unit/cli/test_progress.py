"""Something that takes long shows a sign of life, where it does not get in the way."""

import io
import threading

import pytest

from lambent.cli import progress
from lambent.cli.progress import LiveView, PlainView, Progress
from tests.support.patience import PATIENT_S


class Log(io.StringIO):
    """A stream that says when it is first written to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str, /) -> int:
        self.written.set()
        return super().write(text)


def test_what_is_over_at_once_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_AFTER_S", PATIENT_S)
    log, before = Log(), threading.active_count()
    with Progress("deploying", log) as shown:
        shown.update("preparing")
    assert log.getvalue() == ""
    assert threading.active_count() <= before


def test_what_takes_a_second_says_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_AFTER_S", 0.0)
    log = Log()
    with Progress("deploying", log) as shown:
        assert log.written.wait(PATIENT_S)
        shown.update("uploading", 0.25)
        shown.update("uploading", 0.5)
        shown.update("preparing")
    assert log.getvalue().splitlines() == ["deploying ...", "uploading (25%) ...", "preparing ..."]


def test_a_failure_inside_is_passed_on() -> None:
    with pytest.raises(ValueError, match="no"), Progress("deploying", Log()):
        raise ValueError("no")


def test_a_line_is_said_once() -> None:
    log = Log()
    view = PlainView(log)
    for _ in range(2):
        view.show("training", None)
    view.close()
    assert log.getvalue() == "training ...\n"


def test_the_live_line_takes_any_text(capsys: pytest.CaptureFixture[str]) -> None:
    view = LiveView()
    view.show("deploying [bold]app.py", None)
    view.show("[/nothing]", 0.5)
    view.close()
    assert capsys.readouterr().out == ""
