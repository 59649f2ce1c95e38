"""What every store must do with runs and keys, whatever keeps it."""

from collections.abc import Callable

import msgspec
import pytest

from lambent.core.errors import NotFound
from lambent.core.invocation import Role
from lambent.storage.base import Key, Run, RunState
from lambent.storage.sql import SqlStore

Open = Callable[[], SqlStore]


def run_of(number: int, **fields: object) -> Run:
    defaults = {
        "id": f"run-{number}",
        "project": "default",
        "job": "fit",
        "for_deployment": "digits",
        "state": RunState.QUEUED,
        "created_unix_ms": number,
    }
    return msgspec.convert(defaults | fields, Run)


def test_a_run_is_replaced_by_its_id_and_survives(store: SqlStore, reopen: Open) -> None:
    store.runs.put(run_of(1, params={"epochs": 5, "rate": 0.5, "mode": "fast"}))
    ended = run_of(
        1,
        state=RunState.SUCCEEDED,
        progress=1.0,
        metrics={"accuracy": 0.98},
        params={"epochs": 5},
        model_number=3,
        ended_unix_ms=2**41,
        message="fünf Epochen",
    )
    store.runs.put(ended)
    store.close()
    again = reopen()
    assert again.runs.find("run-1") == ended
    assert again.runs.all("default") == [ended]
    assert again.runs.find("run-2") is None


def test_runs_come_newest_first_even_within_one_millisecond(store: SqlStore) -> None:
    for number in range(1, 5):
        # The clock is set back meanwhile.
        store.runs.put(
            run_of(number, created_unix_ms=70 - number, job=f"job-{number % 2}", for_deployment=str(number))
        )
    store.runs.put(run_of(1, created_unix_ms=69, job="job-1", for_deployment="1", progress=0.5))
    assert [run.id for run in store.runs.all("default")] == ["run-4", "run-3", "run-2", "run-1"]
    assert [run.id for run in store.runs.all("default", job="job-1")] == ["run-3", "run-1"]
    assert [run.id for run in store.runs.all("default", for_deployment="2")] == ["run-2"]
    assert [run.id for run in store.runs.all("default", limit=2)] == ["run-4", "run-3"]
    assert store.runs.all("second") == []


def test_only_unfinished_runs_are_interrupted(store: SqlStore) -> None:
    for number, state in enumerate(RunState):
        store.runs.put(run_of(number, state=state, reason="as it was"))
    interrupted = store.runs.interrupt_unfinished("the server was killed", now_unix_ms=99)
    assert [(run.id, run.state, run.reason, run.ended_unix_ms) for run in interrupted] == [
        ("run-0", RunState.INTERRUPTED, "the server was killed", 99),
        ("run-1", RunState.INTERRUPTED, "the server was killed", 99),
    ]
    assert store.runs.find("run-1") == interrupted[1]
    succeeded = store.runs.find("run-2")
    assert succeeded is not None
    assert (succeeded.state, succeeded.reason) == (RunState.SUCCEEDED, "as it was")
    assert store.runs.interrupt_unfinished("again", now_unix_ms=100) == []


# --- keys


def test_keys_are_kept_found_listed_and_removed(store: SqlStore) -> None:
    key = Key(
        id="k1", project="default", name="laptop", role=Role.DEPLOY, secret_hash="ab" * 32, created_unix_ms=1
    )
    store.keys.put(key)
    assert store.keys.find("k1") == key
    assert store.keys.all("default") == [key]
    assert store.keys.all("second") == []
    with pytest.raises(NotFound):
        store.keys.remove("second", "k1")
    store.keys.remove("default", "k1")
    assert store.keys.find("k1") is None
    with pytest.raises(NotFound):
        store.keys.remove("default", "k1")
