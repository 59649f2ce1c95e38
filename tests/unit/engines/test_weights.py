"""What lets the server weigh its workers, read from files as the kernel writes them; and that it counts."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lambent.engines.weights import Means, means, weigh
from tests.support.patience import PATIENT_S

SPIN = "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"


def machine(folder: Path, *, autogroup: str, cgroup: str, capabilities: str = "0") -> tuple[Path, Path]:
    proc, cgroups = folder / "proc", folder / "cgroup"
    for name, text in {
        "sys/kernel/sched_autogroup_enabled": autogroup,
        "self/cgroup": cgroup,
        "self/status": f"Name:\tpython\nCapEff:\t{capabilities}\n",
    }.items():
        (proc / name).parent.mkdir(parents=True, exist_ok=True)
        (proc / name).write_text(text)
    (cgroups / "user").mkdir(parents=True)
    (cgroups / "user/cpu.weight").write_text("100")
    return proc, cgroups


@pytest.mark.parametrize(
    ("autogroup", "cgroup", "capabilities", "by"),
    [
        pytest.param("1\n", "0::/\n", "0", Means.AUTOGROUP, id="sessions are grouped"),
        pytest.param("1\n", "3:cpu,cpuacct:/\n0::/\n", "0", Means.AUTOGROUP, id="the first version's root"),
        pytest.param("1\n", "3:cpu,cpuacct:/a\n0::/\n", "0", Means.NONE, id="a group of the first version"),
        pytest.param("1\n", "0::/user\n", "0", Means.NONE, id="a group of its own, and no rights"),
        pytest.param("0\n", "0::/\n", "0", Means.NONE, id="turned off"),
        pytest.param("0\n", "0::/\n", "800000", Means.NICE, id="turned off, with the capability"),
    ],
)
def test_by_what_workers_are_weighed(
    tmp_path: Path, autogroup: str, cgroup: str, capabilities: str, by: Means
) -> None:
    proc, cgroups = machine(tmp_path, autogroup=autogroup, cgroup=cgroup, capabilities=capabilities)
    assert means(proc, cgroups) is by


def test_a_machine_that_tells_nothing_weighs_nothing(tmp_path: Path) -> None:
    assert means(tmp_path, tmp_path) is Means.NONE
    assert not weigh(1, 5, Means.NONE)


@pytest.fixture
def spinning() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Four processes that share a core, each in a session of its own, as workers are."""
    processes = [subprocess.Popen([sys.executable, "-c", SPIN], start_new_session=True) for _ in range(4)]
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_three_that_are_nice_leave_one_as_much_as_they_have_together(
    spinning: list[subprocess.Popen[bytes]],
) -> None:
    by = means()
    if by is Means.NONE:
        pytest.skip("this machine lets nobody weigh processes")
    for process in spinning[:3]:
        deadline = time.monotonic() + PATIENT_S
        while not weigh(process.pid, 5, by):
            assert time.monotonic() < deadline, f"process {process.pid} could not be weighed"
    watched = [psutil.Process(process.pid) for process in spinning]
    before, began_s = [_cpu_s(one) for one in watched], time.monotonic()
    used: list[float] = [0.0]
    while sum(used) < 1.2 and time.monotonic() < began_s + PATIENT_S:
        watched[0].children()  # takes a moment, and is what there is to do meanwhile
        used = [_cpu_s(one) - start for one, start in zip(watched, before, strict=True)]
    assert sum(used) >= 1.2
    # In equal parts it would have a quarter; weighed, a half.
    assert used[3] >= 0.35 * sum(used)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
