"""Other people's programs are installed as their lists say."""

import re
import subprocess

import pytest

from tests.support.programs import LISTS, environment, names


@pytest.mark.parametrize("name", names())
def test_each_requirement_of_a_program_is_one_exact_version(name: str) -> None:
    lines = (LISTS / f"{name}.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith(("#", "--"))]
    assert wanted
    assert [line for line in wanted if not re.fullmatch(r"[\w.\-\[\],]+==[\w.+!]+( ;.+)?", line)] == []


@pytest.mark.programs
@pytest.mark.parametrize("name", names())
def test_what_a_program_asks_for_is_installed_beside_it(name: str) -> None:
    python = environment(name) / "bin" / "python"
    checked = subprocess.run([python, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
