"""Numbers and texts as people read them."""

import pytest

from lambent.cli import output


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (output.size(0), "0.0 MiB"),
        (output.size(3 * 2**19), "1.5 MiB"),
        (output.size(3 * 2**30), "3.00 GiB"),
        (output.duration(0.25), "0.2 ms"),
        (output.duration(1500), "1.5 s"),
        (output.dollars(0), "$0.00"),
        (output.dollars(0.0000021), "$0.00000210"),
        (output.dollars(1234.5), "$1,234.50"),
        (output.when(None), ""),
        (output.parts({"load": 5, "import": 1700}), "import 1.7 s, load 5.0 ms"),
        (output.numbers({"loss": 0.123456, "accuracy": 1}), "accuracy 1, loss 0.1235"),
        (output.one_line("a\n b\tc\x1b[0m\u202e"), "a b c·[0m·"),
        (output.shortened("x" * 100), "x" * 79 + "…"),
        (output.shortened("short"), "short"),
    ],
)
def test_a_value_is_shown(shown: str, expected: str) -> None:
    assert shown == expected


def test_a_table_is_as_wide_as_its_cells(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["A", "NUMBER"], [["long name", "1"], ["", "1000000"]], right=["NUMBER"])
    assert capsys.readouterr().out.splitlines() == [
        "A           NUMBER",
        "long name        1",
        "           1000000",
    ]


def test_an_empty_table_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["A", "B"], [])
    assert capsys.readouterr().out == "A  B\n"


def test_fields_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    output.fields([("name", "x"), ("nothing", ""), ("kind", "y")])
    assert capsys.readouterr().out == "name  x\nkind  y\n"
