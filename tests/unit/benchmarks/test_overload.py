"""What is measured of an overload follows from what was answered, and when."""

from pathlib import Path

import pytest

from benchmarks import platforms
from benchmarks.arrivals import Answers, Arrivals, Step, due_times
from benchmarks.http1 import Target
from benchmarks.overload import recovery_s

TARGET = Target(host="127.0.0.1", port=1, path="/")
OVER_S = 10.0


def answers(*pairs: tuple[float, float], bad_last_s: float = 0.0) -> Answers:
    """A calm second of a hundred quick answers, then these: when they were due, and how long they took."""
    calm = [(number / 100, 0.001) for number in range(100)]
    dues, took = zip(*calm, *pairs, strict=True)
    return Answers(
        due_s=list(dues), took_s=list(took), refused=0, failed=0, unsent=0, bad_last_s=bad_last_s
    )  # fmt: skip


def test_each_step_has_about_its_rate_and_the_same_seed_the_same_times() -> None:
    arrivals = Arrivals(target=TARGET, steps=(Step(100, 10), Step(1000, 10)), connections_max=1)
    dues = due_times(arrivals)
    assert list(dues) == sorted(dues)
    assert sum(due_s < 10 for due_s in dues) == pytest.approx(1_000, rel=0.15)
    assert sum(due_s >= 10 for due_s in dues) == pytest.approx(10_000, rel=0.05)
    assert due_times(arrivals) == dues


@pytest.mark.parametrize(
    ("ran", "expected_s"),
    [
        pytest.param(answers((10.1, 0.002)), 0.0, id="quick at once"),
        pytest.param(answers((9.5, 3.0), (10.1, 0.002)), 0.0, id="slow in the overload itself"),
        pytest.param(answers((10.5, 1.0), (11.5, 0.002)), 0.5, id="slow for half a second"),
        pytest.param(answers((10.5, 0.002), bad_last_s=11.0), 1.0, id="refused for a second"),
    ],
)
def test_recovery_lasts_until_nothing_is_slow_or_refused(ran: Answers, expected_s: float) -> None:
    assert recovery_s(ran, OVER_S) == pytest.approx(expected_s)


def test_a_platform_that_could_not_be_installed_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platforms, "ENVIRONMENTS", tmp_path)
    folder = tmp_path / platforms.TWO_HOPS.environment
    folder.mkdir()
    (folder / "install.log").write_text("Collecting ray\nERROR: No matching distribution found for ray\n")
    with (
        pytest.raises(FileNotFoundError, match="No matching distribution"),
        platforms.serving(platforms.TWO_HOPS, b"{}"),
    ):
        pass
