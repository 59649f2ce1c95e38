"""Where the tests find other people's programs: each is installed in an environment of its own."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.support.patience import PATIENT_S

LISTS: Final = Path(__file__).parents[1] / "programs"
ENVIRONMENTS: Final = Path(__file__).parents[2] / ".venv-programs"


def names() -> list[str]:
    """Name the environments that there are to be: one for each list of requirements in `tests/programs`."""
    return sorted(path.stem for path in LISTS.glob("*.txt"))


def environment(name: str) -> Path:
    """Return the folder of the environment `name`, whose programs are below `bin`.

    Raises LookupError for a list that there is not, or whose environment is not whole: a test that is to run
    one of its programs fails, and does not pass by.
    """
    folder = ENVIRONMENTS / name
    if name not in names():
        raise LookupError(f"there is no tests/programs/{name}.txt")
    if not (folder / ".ready").exists():
        raise LookupError(f"{name} is not installed: `make test-programs` installs it into {folder}")
    return folder


def told_by(name: str, program: str, *words: str) -> list[Any]:
    """Return what `program` prints as JSON, line by line, when Python runs it in the environment `name`.

    Raises AssertionError with what it said where it fails.
    """
    done = subprocess.run(
        [environment(name) / "bin" / "python", "-c", program, *words],
        capture_output=True,
        text=True,
        timeout=2 * PATIENT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line[:1] in "[{"]
