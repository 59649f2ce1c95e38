"""The memory of a machine is what a control group leaves of it."""

from pathlib import Path

import psutil
import pytest

from lambent.engines.machine import memory_bytes

WHOLE = psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        pytest.param(
            "0::/a/b\n", {"a/memory.max": "1000000\n", "a/b/memory.max": "max\n"}, 1_000_000, id="parent"
        ),
        pytest.param(
            "0::/a\n", {"a/memory.max": "2000000\n", "memory.max": "3000000\n"}, 2_000_000, id="least"
        ),
        pytest.param(
            "4:cpu:/a\n2:memory:/a\n",
            {"memory/a/memory.limit_in_bytes": "5000000\n"},
            5_000_000,
            id="version 1",
        ),
        pytest.param(
            "2:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, WHOLE, id="no limit"
        ),
        pytest.param("0::/../../x\n", {}, WHOLE, id="another namespace"),
        pytest.param(None, {}, WHOLE, id="no control groups"),
    ],
)
def test_the_least_limit_counts(
    tmp_path: Path, own: str | None, files: dict[str, str], expected: int
) -> None:
    for name, text in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    told = tmp_path / "own"
    if own is not None:
        told.write_text(own)
    assert memory_bytes(cgroups=tmp_path / "groups", own=told) == expected
