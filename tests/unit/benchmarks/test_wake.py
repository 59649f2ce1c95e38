"""What `make bench-wake` needs of its surroundings is asked for, and what is missing is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from benchmarks import races, simulated, wake
from benchmarks.figures import Measured, Missing
from benchmarks.torch_apps import Network


def test_without_traces_their_rows_are_missing_and_say_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(simulated.TRACES, raising=False)
    [unset] = simulated.lines("wake")
    monkeypatch.setenv(simulated.TRACES, str(tmp_path))
    [empty] = simulated.lines("wake")
    assert isinstance(unset, Missing)
    assert simulated.TRACES in unset.why
    assert isinstance(empty, Missing)
    assert str(tmp_path) in empty.why


def test_a_network_is_written_with_its_own_numbers(tmp_path: Path) -> None:
    app = Network(name="net", layers=3, width=8, tuned=2, tuned_layers=1).write(tmp_path)
    text = app.read_text()
    assert app.name == "net.py"
    assert all(f"\n{line}\n" in text for line in ("LAYERS = 3", "WIDTH = 8", "TUNED = 2", "TUNED_LAYERS = 1"))


def test_what_was_measured_before_a_failure_is_kept(tmp_path: Path) -> None:
    measured = Missing(topic="wake", what="one", why="-")

    def lines(_: Path) -> Iterable[Measured]:
        yield measured
        raise RuntimeError("broken")

    first, second = wake.lines_of("part", tmp_path, lines)
    assert first is measured
    assert isinstance(second, Missing)
    assert second.why == "broken"


def test_a_race_whose_call_ran_twice_or_never_is_an_error() -> None:
    asked = [races.Asked(token, "", "primed") for token in ("once", "twice", "never")]
    line = races.row("wake", "it stops", asked, Counter({"once": 1, "twice": 2}))
    assert line.measured.median == 2
    assert line.reached is False
    assert "twice ran 2 times; never ran 0 times" in line.note
