"""`simulate` reads the traces that people have, says what is wrong with others, and draws what it found."""

import gzip
import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from lambent.core.spec import Kind
from lambent.metering.journal import Journal
from tests.support.usage import NOON_UNIX_MS, used
from tests.unit.cli.conftest import Lambent

MINUTES = 240


def azure_2019(folder: Path, *, prefix: str = "", zipped: str = "") -> Path:
    columns = ",".join(f"{prefix}{minute}" for minute in range(1, MINUTES + 1))
    timer = ",".join("3" if minute % 30 == 0 else "0" for minute in range(MINUTES))
    bursts = ",".join("1" if minute % 70 < 3 else "0" for minute in range(MINUTES))
    text = f"HashOwner,HashApp,HashFunction,{columns}\no,a,f,{timer}\no,b,g,{bursts}\n"
    file = folder / f"day_inv.csv{zipped}"
    file.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    (folder / f"day_mem.csv{zipped}").write_bytes(
        gzip.compress(b"HashApp,AverageAllocatedMb\na,1024\n") if zipped else b"HashApp,AverageAllocatedMb\n"
    )
    return file


def azure_2021(folder: Path) -> Path:
    file = folder / "calls.csv"
    lines = "".join(f"a,f,{60.5 + 300 * call},0.5\n" for call in range(20))
    file.write_text(f"app,func,end_timestamp,duration\n{lines}")
    return file


def own(folder: Path) -> Path:
    file = folder / "own.csv"
    lines = "".join(
        f"digits,2026-11-30T10:{minute:02}:00+00:00,0.2,1073741824\n" for minute in range(0, 60, 5)
    )
    file.write_text(f"deployment,timestamp,duration,memory_bytes\n{lines}")
    return file


@pytest.mark.parametrize(
    ("prefix", "zipped"), [("", ""), ("minute_", ".gz")], ids=["as published", "as sampled and zipped"]
)
def test_a_day_of_azure_2019_is_compared(lambent: Lambent, tmp_path: Path, prefix: str, zipped: str) -> None:
    printed = lambent("simulate", str(azure_2019(tmp_path, prefix=prefix, zipped=zipped)), "--json")
    assert printed.code == 0, printed.err
    compared = json.loads(printed.out)
    assert (compared["revisions"], compared["from_tick"], compared["until_tick"]) == (2, 120, 240)
    assert [row["policy"] for row in compared["rows"]] == [
        "fixed", "hybrid", "gdsf", "forecast", "forecast", "economic", "economic"
    ]  # fmt: skip
    assert {row["outcome"]["invocations"] for row in compared["rows"]} == {18}
    used = {round(row["outcome"]["used_gb_s"]) for row in compared["rows"]}
    # 4 minutes of 1 GiB where memory is told, of 170 MiB where not; 6 minutes of the other.
    assert used == {round((4 * (1024 if zipped else 170) + 6 * 170) / 1024 * 60)}


@pytest.mark.parametrize(("make", "calls"), [(azure_2021, 10), (own, 6)])
def test_single_calls_are_compared(lambent: Lambent, tmp_path: Path, make: object, calls: int) -> None:
    assert callable(make)
    printed = lambent("simulate", str(make(tmp_path)), "--policy", "fixed", "--json")
    assert printed.code == 0, printed.err
    (row,) = json.loads(printed.out)["rows"]
    assert (row["policy"], row["outcome"]["invocations"]) == ("fixed", calls)
    assert row["outcome"]["cold_starts"] == 0  # one in five minutes, kept for ten


def test_people_get_a_table(lambent: Lambent, tmp_path: Path) -> None:
    lines = lambent("simulate", str(azure_2019(tmp_path)), "--budget", "2GiB").out.splitlines()
    assert lines[0].split()[:2] == ["POLICY", "SETTING"]
    assert lines[-2].startswith("economic  thermostat, 2.0 GiB")
    assert lines[-1] == "judged on the last 2.0 h of 2 revisions"


@pytest.mark.parametrize("name", ["chart.html", "chart.svg"])
def test_the_chart_stands_for_itself(lambent: Lambent, tmp_path: Path, name: str) -> None:
    chart = tmp_path / name
    assert lambent("simulate", str(azure_2019(tmp_path)), "--chart", str(chart)).code == 0
    text = chart.read_text()
    drawn = ET.fromstring(text[text.index("<svg") : text.index("</svg>") + len("</svg>")])
    assert sum(element.tag.endswith("polyline") for element in drawn.iter()) == 2
    assert not any(word in text for word in ("<script", "href", "src="))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no trace that is known"),
        ("a,b\n1,2\n", "no trace that is known"),
        ("deployment,timestamp,duration\n", "has no invocation"),
        ("deployment,timestamp,duration\nd,yesterday,1\n", "line 2 has 'yesterday' where a number"),
        ("deployment,timestamp,duration\nd,1,1\nd,9e12,1\n", "at most 10000000 are simulated"),
        ("HashApp,HashFunction,1,2\na,f,1\n", "line 2 has 3 fields and not 4"),
        ("HashApp,HashFunction,1,2\na,f,1,-3\n", "line 2 has '-3' where a number"),
        ("app,func,end_timestamp,duration\na,f,5,nan\n", "line 2 has 'nan' where a number"),
        ("HashApp,HashFunction,1\na,f,1\n", "no two halves"),
    ],
)
def test_what_is_wrong_with_a_trace_is_told(
    lambent: Lambent, tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(content)
    printed = lambent("simulate", str(file))
    assert printed.code == 1
    assert said in printed.err
    assert printed.err.count("\n") == 1


def test_a_file_that_is_not_there_or_not_zipped_is_told(lambent: Lambent, tmp_path: Path) -> None:
    absent, plain = tmp_path / "absent.csv", tmp_path / "plain.csv.gz"
    plain.write_text("app")
    for file in (absent, plain):
        printed = lambent("simulate", str(file))
        assert printed.code == 1
        assert file.name in printed.err


def test_a_chart_of_another_kind_is_refused_before_anything_is_read(lambent: Lambent, tmp_path: Path) -> None:
    printed = lambent("simulate", str(tmp_path / "absent.csv"), "--chart", "chart.png")
    assert printed.code == 2
    assert ".svg" in printed.err


def test_a_usage_journal_of_ones_own_is_replayed(lambent: Lambent, tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "usage")
    for call in range(20):
        started_unix_ms = NOON_UNIX_MS + 300_000 * call
        journal.append(used(invocation=f"{call}", started_unix_ms=started_unix_ms))
        journal.append(used(invocation=f"run {call}", kind=Kind.JOB, started_unix_ms=started_unix_ms))
    journal.close()
    [segment] = (tmp_path / "usage").iterdir()
    with segment.open("ab") as torn:
        torn.write(b"torn")
    for place in (tmp_path, tmp_path / "usage", segment):
        done = lambent("simulate", str(place), "--policy", "fixed", "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["revisions"] == 1
        assert json.loads(done.out)["rows"][0]["outcome"]["invocations"] == 10


def test_what_is_no_usage_journal_is_told(lambent: Lambent, tmp_path: Path) -> None:
    assert "holds no usage journal" in lambent("simulate", str(tmp_path)).err
    (tmp_path / "a.usage").write_text("something else")
    assert "is no segment of a usage journal" in lambent("simulate", str(tmp_path)).err
