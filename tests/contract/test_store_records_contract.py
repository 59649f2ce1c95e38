"""What every store must do with runs and keys, whatever keeps it."""

from collections.abc import Callable

import msgspec
import pytest

from lambent.core.errors import NotFound
from lambent.core.invocation import Role
from lambent.storage.base import Key, Run, RunState, RunsWanted
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
    assert [run.id for run in store.runs.all("default", RunsWanted(job="job-1"))] == ["run-3", "run-1"]
    assert [run.id for run in store.runs.all("default", RunsWanted(for_deployment="2"))] == ["run-2"]
    assert [run.id for run in store.runs.all("default", RunsWanted(limit=2))] == ["run-4", "run-3"]
    assert [run.id for run in store.runs.all("default", RunsWanted(before="run-3"))] == ["run-2", "run-1"]
    assert store.runs.all("default", RunsWanted(before="never")) == []
    assert store.runs.all("second") == []


def test_runs_are_found_by_their_state_and_by_what_started_them(store: SqlStore) -> None:
    store.runs.put_all(
        [run_of(number, state=state, parent=f"p{number % 2}") for number, state in enumerate(RunState)]
    )
    assert [run.id for run in store.runs.unfinished()] == ["run-0", "run-1"]
    assert [run.id for run in store.runs.all("default", RunsWanted(state="failed"))] == ["run-3"]
    assert [run.id for run in store.runs.all("default", RunsWanted(parent="p1"))] == [
        "run-5",
        "run-3",
        "run-1",
    ]


def test_runs_are_found_by_what_they_wait_for(store: SqlStore) -> None:
    waiting = [run_of(2, after=("run-1",)), run_of(3, after=("run-0", "run-1")), run_of(4, after=("run-10",))]
    store.runs.put_all([run_of(1), *waiting])
    assert store.runs.waiting_for("run-1") == waiting[:2]
    assert store.runs.waiting_for("run-_") == []


def test_runs_that_ended_long_ago_are_found_and_forgotten(store: SqlStore) -> None:
    ended = [
        run_of(number, state=state, ended_unix_ms=number * 1000)
        for number, state in enumerate([RunState.FAILED, RunState.SUCCEEDED, RunState.CANCELLED])
    ]
    waiting = run_of(3, state=RunState.QUEUED, ended_unix_ms=0)  # tried again
    store.runs.put_all([*ended, waiting, run_of(4)])
    assert store.runs.ended_before(2000, limit=10) == ended[:2]
    assert store.runs.ended_before(2000, limit=1) == ended[:1]
    for _ in range(2):
        store.runs.remove("run-0")
    assert store.runs.find("run-0") is None
    assert store.runs.ended_before(2000, limit=10) == ended[1:2]


def test_many_runs_are_stored_together_or_not_at_all(store: SqlStore) -> None:
    store.runs.put_all([run_of(number) for number in range(500)])
    changed = run_of(7, state=RunState.SUCCEEDED, result='{"answer":7}', step=12, after=("a", "b"))
    store.runs.put_all([changed, run_of(500)])
    assert store.runs.find("run-7") == changed
    newest = store.runs.all("default", RunsWanted(limit=1000))
    assert [run.id for run in newest] == [f"run-{number}" for number in reversed(range(501))]
    broken = msgspec.structs.replace(run_of(501), job=None)
    with pytest.raises(Exception, match="NOT NULL"):
        store.runs.put_all([run_of(502), broken])
    assert store.runs.find("run-502") is None


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
