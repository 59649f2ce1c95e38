"""Once nobody calls any more: what must have come back to rest, and to the level before."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import psutil

from lambent.client.client import Client
from tests.support.chaos.faults import descriptors, peak_bytes
from tests.support.chaos.laws import Ticket
from tests.support.chaos.load import EVENTS, Dice, Stage
from tests.support.chaos.program import CHURN, NAMES
from tests.support.chaos.seen import Metered, Witness, read_journal
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer

PEAK_BYTES_MAX: Final = 256 << 20
AT_ONCE: Final = 3  # the workers of each deployment
# Descriptors that one life of a server may have beyond another: files of the journal and of logs that are
# open just now, connections of the database that another thread has used.
DESCRIPTORS_SLACK: Final = 6
LOOK_EVERY_S: Final = 0.1
SETTLE_S: Final = 0.5  # what does not change within this time is taken for what stays


def tickets(server: RunningServer, seen: Witness) -> Mapping[str, Ticket]:
    """How each acknowledged invocation ended; one that has not after a long time is missing."""
    letters = dead_letters(server)
    found: dict[str, Ticket] = {}
    deadline_s = time.monotonic() + PATIENT_S
    for one in seen.acknowledged.values():
        while time.monotonic() < deadline_s:
            answer = server.request("GET", f"/invocations/{one.invocation}", Prefer="wait=10")
            if answer.status == 200:
                state = answer.headers["Lambent-Status"]
                if state == "dead" and one.invocation not in letters:
                    letters = dead_letters(server)
                found[one.invocation] = Ticket(
                    state=state,
                    attempts=int(answer.headers["Lambent-Attempts"]),
                    is_listed=one.invocation in letters,
                )
            if answer.status != 202:
                break
    return found


def dead_letters(server: RunningServer) -> frozenset[str]:
    """The ids of all of them."""
    found: list[str] = []
    while True:
        after = f"&after={found[-1]}" if found else ""
        page = server.request("GET", f"/api/v1/deployments/later/dead-letters?limit=500{after}").json()
        if not page:
            return frozenset(found)
        found.extend(one["id"] for one in page)


def billed(server: RunningServer) -> tuple[int, Metered]:
    """What the ledger counts, and the journal, once they agree; or as they are after a long time."""
    deadline_s = time.monotonic() + PATIENT_S
    while True:
        metered = read_journal(server.state_dir / "usage")
        with Client(server.url, server.about["api_key"]) as client:
            counted = sum(line.invocations for line in client.usage().lines)
        if counted == metered.count or time.monotonic() > deadline_s:
            return counted, metered
        threading.Event().wait(LOOK_EVERY_S)


def at_rest(server: RunningServer) -> Iterator[str]:
    """No worker, nobody who waits, and no process that the server does not know."""
    rest = ""
    for _ in _looks():
        with Client(server.url, server.about["api_key"]) as client:
            listed = client.list()
            known = {one.pid for one in client.processes()}
        busy = [f"{one.name}: {one.workers} workers, {one.queued} wait" for one in listed
                if one.workers or one.queued]  # fmt: skip
        strays = [_told(one) for one in server.processes() if one.pid not in known]
        rest = "; ".join([*busy, *strays])
        if not rest:
            return
    yield f"does not come to rest: {rest}"


def _told(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return f"process {process.pid} ({process.status()}): {' '.join(process.cmdline())[:120]}"
    return f"process {process.pid}, which has ended"


def slots_free(stage: Stage, deploy: Callable[[str], None]) -> Iterator[str]:
    """Each deployment runs as many calls at once as it has workers: no slot was lost."""
    dice = Dice(stage.seed)
    with Client(stage.server.url, stage.key) as client:
        there = {one.name for one in client.list()}
    for name in set(NAMES) - there:
        if name == CHURN:  # a fault may have come between its end and its return
            deploy(name)
        else:
            yield f"{name} is gone"
    for name in NAMES:
        if name not in EVENTS:
            continue
        events = [dict(EVENTS[name](stage.number(), dice)) for _ in range(4 * AT_ONCE)]
        with ThreadPoolExecutor(len(events)) as calling:
            answers = list(calling.map(lambda event, name=name: stage.server.invoke(name, event), events))
        wrong = Counted(answer.status for answer in answers if answer.status != 200)
        if wrong:
            yield f"{name} does not serve any more: {wrong}: {answers[0].body[:300]!r}"


class Counted(dict[int, int]):
    """How many there are of each."""

    def __init__(self, found: Iterator[int]) -> None:
        super().__init__()
        for one in found:
            self[one] = self.get(one, 0) + 1


def bounded(server: RunningServer) -> Iterator[str]:
    """The server's memory, at its highest since it was started last."""
    assert server.process is not None
    used = peak_bytes(server.process.pid)
    if used > PEAK_BYTES_MAX:
        yield f"the server had {used >> 20} MiB, more than {PEAK_BYTES_MAX >> 20}"


def nothing_left(stage: Stage, deploy: Callable[[str], None], temporary: Path) -> Iterator[str]:
    """Without deployments nothing is left of them; what the server holds is what a fresh one would."""
    server = stage.server
    with Client(server.url, server.about["api_key"]) as client:
        for one in client.list():
            client.remove(one.name)
    left: list[str] = []
    for _ in _looks():
        with Client(server.url, server.about["api_key"]) as client:
            left = [one.role for one in client.processes() if one.role not in ("server", "environment")]
        if not left:
            break
    else:
        yield f"processes are left of removed deployments: {left}"
    worn = _open(server, deploy)
    temps = [str(path) for folder in (temporary, server.state_dir / "tmp") for path in folder.iterdir()]
    if temps:
        yield f"temporary files are left: {temps[:10]}"
    if server.stop() != 0:
        yield f"does not stop in good order: {server.log()[-2000:]}"
    server.start()
    fresh = _open(server, deploy)
    for kind, count in worn.items():
        if count > fresh.get(kind, 0) + DESCRIPTORS_SLACK:
            yield f"{count} descriptors of {kind} are open, {fresh.get(kind, 0)} in a fresh server"


def _open(server: RunningServer, deploy: Callable[[str], None]) -> Mapping[str, int]:
    """The descriptors of a server at rest that has served one call."""
    assert server.process is not None
    deploy("fast")
    assert server.invoke("fast", {"n": -1}).status == 200
    list(at_rest(server))
    server.http.clear()  # the connections that we keep are none of its own
    before: Mapping[str, int] = {}
    for _ in _looks():
        found = descriptors(server.process.pid)
        if found == before:
            break
        before = found
        threading.Event().wait(SETTLE_S)
    return before


def log_clean(server: RunningServer) -> Iterator[str]:
    """No bug of ours was told."""
    for line in server.log().splitlines():
        if "Traceback" in line or "never retrieved" in line or '"level":"error"' in line.replace(" ", ""):
            yield f"the server's log has: {line[:2000]}"


def _looks() -> Iterator[None]:
    deadline_s = time.monotonic() + PATIENT_S / 2
    while time.monotonic() < deadline_s:
        yield
        threading.Event().wait(LOOK_EVERY_S)


def told(violations: Sequence[str], *, most: int = 40) -> str:
    """For a person."""
    more = f"\n... and {len(violations) - most} more" if len(violations) > most else ""
    return json.dumps(violations[:most], indent=1, ensure_ascii=False) + more
