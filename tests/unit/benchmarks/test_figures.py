"""A table of ratios says what was measured, and judges it by the aim's own side."""

import pytest

from benchmarks.figures import Aim, Line, Missing, Sample, Sense, Unit, as_record, table

MS_10 = Sample((9.0, 10.0, 30.0), Unit.MS)
MS_500 = Sample((500.0,), Unit.MS)


def line(*, against: Sample | None = None, inverse: str = "", aim: Aim | None = None) -> Line:
    return Line(topic="cold", what="wake", measured=MS_10, against=against, inverse=inverse, aim=aim)


@pytest.mark.parametrize(
    ("measured", "ratio", "reached"),
    [
        pytest.param(line(), None, None, id="no aim, no verdict"),
        pytest.param(line(against=MS_500), 0.02, None, id="a ratio alone is no verdict"),
        pytest.param(
            line(against=MS_500, inverse="faster", aim=Aim(Sense.AT_LEAST, 50)),
            50,
            True,
            id="on the bound, above",
        ),
        pytest.param(
            line(against=MS_500, inverse="faster", aim=Aim(Sense.AT_LEAST, 51)), 50, False, id="too slow"
        ),
        pytest.param(
            line(against=Sample((2.5,), Unit.MS), aim=Aim(Sense.AT_MOST, 4)),
            4,
            True,
            id="on the bound, below",
        ),
        pytest.param(
            line(aim=Aim(Sense.AT_MOST, 9.9)), None, False, id="without a ratio the figure is judged"
        ),
    ],
)
def test_an_aim_is_judged_by_the_median_and_its_own_side(
    measured: Line, ratio: float | None, reached: object
) -> None:
    assert measured.ratio == (None if ratio is None else pytest.approx(ratio))
    assert measured.reached is reached
    assert as_record(measured)["reached"] is reached


def test_the_table_names_what_was_not_measured_and_claims_no_figure_for_it() -> None:
    shown = table(
        [
            line(against=MS_500, inverse="faster", aim=Aim(Sense.AT_LEAST, 60)),
            Missing(topic="cold", what="fork", why="hung"),
        ]
    )
    heading, _, topic, wake, fork = shown.splitlines()
    assert heading.split()[0] == "what"
    assert topic == "[cold]"
    assert "10.0 ms" in wake
    assert "50.0× faster" in wake
    assert wake.endswith("not reached")
    assert fork == "fork: not measured, hung"
