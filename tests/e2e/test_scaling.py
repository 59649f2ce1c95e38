"""Real workers come with a burst and go after it; a schedule brings them without one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer, wait_until

# Each call waits for three others: they end only if four workers run at the same time.
MEETING = f"""
import os, pathlib, time

def meet(event, context):
    room = pathlib.Path(event["room"])
    (room / str(os.getpid())).touch()
    end_s = time.monotonic() + {PATIENT_S / 2}
    while len(list(room.iterdir())) < 4 and time.monotonic() < end_s:
        time.sleep(0.01)
    return len(list(room.iterdir()))
"""


def workers(server: RunningServer, name: str) -> int:
    count: int = server.deployment(name)["workers"]
    return count


def test_a_burst_gets_four_workers_which_go_when_it_is_over(
    server: RunningServer, write: Callable[[str, str], Path], tmp_path: Path
) -> None:
    code = write("meeting.py", MEETING)
    server.deploy(f"{code}:meet", "--set", "keep_alive_s=1", "--set", f"timeout_s={PATIENT_S:g}")
    room = tmp_path / "room"
    room.mkdir()
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(server.invoke, "meet", {"room": str(room)}) for _ in range(8)]
        replies = [call.result() for call in calls]
    assert [reply.status for reply in replies] == [200] * 8
    assert {reply.json() for reply in replies} == {4}
    wait_until(lambda: workers(server, "meet") == 0, "the workers to go")


def test_a_scheduled_minimum_needs_no_call(server: RunningServer, write: Callable[[str, str], Path]) -> None:
    code = write("office.py", "def office(event, context):\n    return event\n")
    server.deploy(f"{code}:office", "--set", "keep_alive_s=1", "--set", "workers_min_schedule=* * * * *=2")
    wait_until(lambda: workers(server, "office") == 2, "the scheduled workers")
    assert "* * * * *=2" in server.cli("show", "office").stdout
