"""Everything fails that may fail, for a while, against real processes; and the laws that judge it notice."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lambent.core.invocation import Status
from lambent.metering.journal import UsageRecord
from tests.support.chaos import laws, quiet
from tests.support.chaos.laws import Evidence, Ticket
from tests.support.chaos.plan import Kind, draw
from tests.support.chaos.run import run
from tests.support.chaos.seen import Acknowledged, Done, End, Metered, Run, Seen, Witness
from tests.support.usage import used

SEED = 4  # kills of each kind, stops, a full disk, and the server killed twice
SECONDS = 15.0

replace = msgspec.structs.replace


@pytest.mark.timeout(900)
def test_whatever_fails_the_laws_hold(tmp_path: Path) -> None:
    report = run(tmp_path, seed=SEED, seconds=SECONDS, say=print)
    assert not report.violations, quiet.told(report.violations)
    assert report.counts["fast 200"]
    assert report.counts["asynchronous"]


def test_a_seed_gives_the_same_faults_again() -> None:
    assert draw(5, 60) == draw(5, 60)
    assert draw(5, 60) != draw(6, 60)
    for seed in range(20):
        kills = [fault.tick for fault in draw(seed, 60) if fault.kind is Kind.KILL_SERVER]
        assert all(later - earlier >= 16 for earlier, later in pairwise(kills))


# One call of each way that went well, from second 10 to second 11.
CALL = Seen(
    number=1, deployment="slow", sent_s=10, over_s=11, end=End.ANSWERED,
    status=200, invocation="a", billed_ms=3,
)  # fmt: skip
RUN = Run(number=1, invocation="a", begin_s=10.1, end_s=10.9)
RECORD = used(invocation="a", deployment="slow", billed_ms=3)
LATER = Acknowledged(number=2, invocation="b", broken=False)
LATER_RUN = Run(number=2, invocation="b", begin_s=10.1, end_s=10.9)
LATER_RECORD = used(invocation="b", deployment="later")
TICKET = Ticket(state="succeeded", attempts=1, is_listed=False)
# make chaos SEED=42 SECONDS=60: the deploy after its removal had met a killed server.
ROLLED_BACK = Done(
    kind=Kind.ROLL_BACK,
    from_s=10,
    until_s=10.1,
    deployment="churn",
    failed="there is no deployment 'churn'; ...",
)
CANCELLED = replace(TICKET, state="cancelled")
KILLED = Done(kind=Kind.KILL_SERVER, from_s=10.95, until_s=12)
FULL = Done(kind=Kind.FILL_DISK, from_s=9, until_s=12)
WORKER = Done(kind=Kind.KILL_WORKER, from_s=10.5, until_s=10.5, deployment="slow")
DEPLOYED = Done(kind=Kind.DEPLOY, from_s=10.5, until_s=10.6, deployment="slow")
CLOSED = replace(CALL, end=End.CLOSED, status=0, invocation="", billed_ms=None)
AWAY = replace(CLOSED, number=3, deployment="churn", end=End.ANSWERED, status=404, code="not_found")
REPLACED = Done(kind=Kind.REPLACE, from_s=10, until_s=11.5, deployment="churn")
FAILED = replace(CALL, status=502, code="worker_exited")
EXITED = replace(RECORD, status=Status.EXITED)
# Its callee failed, and its code let that through: make chaos SEED=1 SECONDS=60.
OUTER = replace(CALL, deployment="front", status=500, code="user_code_failed")
OUTER_RECORD = replace(RECORD, deployment="front", status=Status.FAILED)
INNER_WORKER = replace(WORKER, deployment="fast")


def evidence(
    *,
    calls: tuple[Seen, ...] = (CALL,),
    runs: tuple[Run, ...] = (RUN, LATER_RUN),
    records: tuple[UsageRecord, ...] = (RECORD, LATER_RECORD),
    done: tuple[Done, ...] = (),
    ticket: Ticket | None = TICKET,
    billed: int | None = None,
    cancelled: bool | None = None,
) -> Evidence:
    seen = Witness()
    seen.calls.extend(calls)
    seen.done.extend(done)
    seen.acknowledged[LATER.number] = LATER
    if cancelled is not None:
        seen.cancelled[LATER.number] = cancelled
    by_id: dict[str, list[UsageRecord]] = {}
    for record in records:
        by_id.setdefault(record.invocation, []).append(record)
    return Evidence(
        seen=seen,
        runs=runs,
        metered=Metered(records=by_id, damaged=0),
        tickets={} if ticket is None else {"b": ticket},
        billed=len(records) if billed is None else billed,
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="all went well"),
        pytest.param({"calls": (CLOSED,), "done": (KILLED,)}, id="closed by a kill of the server"),
        pytest.param(
            {"calls": (CLOSED,), "done": (KILLED,), "records": (LATER_RECORD,)},
            id="killed between running and metering",
        ),
        pytest.param(
            {"calls": (FAILED,), "done": (WORKER,), "records": (EXITED, LATER_RECORD)},
            id="its worker was killed",
        ),
        pytest.param(
            {"done": (FULL, KILLED), "records": (LATER_RECORD,)},
            id="held for a full disk when the server was killed",
        ),
        pytest.param({"done": (DEPLOYED,)}, id="a deploy under it"),
        pytest.param({"done": (ROLLED_BACK,)}, id="a rollback of what is away"),
        pytest.param({"ticket": CANCELLED, "cancelled": True}, id="cancelled"),
        pytest.param({"ticket": CANCELLED, "cancelled": False}, id="cancelled, and nobody heard it"),
        pytest.param({"cancelled": False}, id="not cancelled after all"),
        pytest.param(
            {"calls": (OUTER,), "done": (INNER_WORKER,), "records": (OUTER_RECORD, LATER_RECORD)},
            id="the worker of its callee was killed",
        ),
        pytest.param(
            {
                "calls": (CALL, replace(AWAY, sent_s=12, over_s=12.1)),
                "done": (REPLACED, replace(REPLACED, from_s=11, until_s=12.5)),
            },
            id="removed again while it was deployed again",
        ),
    ],
)
def test_what_may_happen_breaks_no_law(change: dict[str, Any]) -> None:
    assert list(laws.broken(evidence(**change))) == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"calls": (replace(CALL, end=End.HUNG),)}, id="no answer"),
        pytest.param({"calls": (replace(CALL, wrong="another's answer"),)}, id="another's answer"),
        pytest.param({"calls": (CALL, CALL)}, id="answered twice"),
        pytest.param({"calls": (CLOSED,)}, id="closed for no reason"),
        pytest.param({"calls": (CLOSED,), "done": (WORKER,)}, id="closed for a worker's death"),
        pytest.param(
            {"calls": (CALL, replace(AWAY, sent_s=12, over_s=12.1)), "done": (REPLACED,)},
            id="away though it was deployed again",
        ),
        pytest.param({"calls": (FAILED,), "records": (EXITED, LATER_RECORD)}, id="failed for no reason"),
        pytest.param(
            {"calls": (FAILED,), "records": (EXITED, LATER_RECORD), "done": (DEPLOYED,)},
            id="failed by a deploy",
        ),
        pytest.param(
            {"calls": (OUTER,), "done": (WORKER,), "records": (OUTER_RECORD, LATER_RECORD)},
            id="its code failed, and its callee was well",
        ),
        pytest.param(
            {
                "calls": (FAILED, replace(FAILED, number=3, invocation="c")),
                "records": (EXITED, LATER_RECORD, replace(EXITED, invocation="c")),
                "runs": (RUN, LATER_RUN, replace(RUN, number=3, invocation="c")),
                "done": (WORKER,),
            },
            id="one worker was killed, two calls failed",
        ),
        pytest.param({"runs": (RUN, RUN, LATER_RUN)}, id="ran twice"),
        pytest.param({"runs": (LATER_RUN,)}, id="a result without a run"),
        pytest.param({"runs": (RUN, LATER_RUN, replace(RUN, number=0))}, id="half a request was run"),
        pytest.param({"ticket": None}, id="acknowledged and lost"),
        pytest.param({"ticket": CANCELLED}, id="cancelled by nobody"),
        pytest.param({"cancelled": True}, id="cancelled, and succeeded all the same"),
        pytest.param({"ticket": replace(TICKET, state="dead", attempts=2)}, id="dead and not listed"),
        pytest.param(
            {"ticket": replace(TICKET, state="dead", is_listed=True)}, id="dead before its last try"
        ),
        pytest.param({"runs": (RUN, LATER_RUN, LATER_RUN)}, id="ran more often than it was tried"),
        pytest.param({"runs": (RUN,)}, id="succeeded and did not run"),
        pytest.param({"records": (LATER_RECORD,)}, id="answered and not metered"),
        pytest.param({"records": (LATER_RECORD,), "done": (KILLED,)}, id="answered whole and lost by a kill"),
        pytest.param({"records": (RECORD, RECORD, LATER_RECORD)}, id="metered twice"),
        pytest.param({"records": (EXITED, LATER_RECORD)}, id="metered as something else"),
        pytest.param(
            {"records": (replace(RECORD, billed_ms=4), LATER_RECORD)}, id="billed as told to nobody"
        ),
        pytest.param({"records": (RECORD,)}, id="an asynchronous one is not metered"),
        pytest.param({"billed": 3}, id="the ledger counts more"),
        pytest.param({"done": (replace(DEPLOYED, failed="no"),)}, id="a deploy failed for no reason"),
    ],
)
def test_what_must_not_happen_breaks_a_law(change: dict[str, Any]) -> None:
    assert list(laws.broken(evidence(**change)))
