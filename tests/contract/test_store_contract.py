"""What every store must do, whatever keeps it: each test runs against each implementation."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from lambent.core.errors import Conflict, NotFound
from lambent.core.invocation import Role
from lambent.core.spec import DeploymentSpec, Kind
from lambent.storage.base import (
    Deployments,
    Key,
    Keys,
    Model,
    Models,
    Revision,
    Run,
    Runs,
    RunState,
    Ticket,
    Tickets,
    TicketState,
)
from lambent.storage.sql import SqlStore
from tests.support.virtual_time import ManualClock

COMMITS_EACH = 12
WRITER = """
import sys
from lambent.clock import SystemClock
from lambent.core.spec import DeploymentSpec, Kind
from lambent.storage.sql import SqlStore
location, who, commits = sys.argv[1:]
store = SqlStore.open(location, SystemClock())
print("open", flush=True)
sys.stdin.readline()
for turn in range(int(commits)):
    spec = DeploymentSpec(name="digits", kind=Kind.MODEL, description=f"{who}-{turn}")
    made = store.deployments.commit(
        spec, project="default", app="", code_digest="c", model=None, activate_as=""
    )
    print(made.id, made.number, flush=True)
"""

Open = Callable[[], SqlStore]


@pytest.fixture(params=["sqlite"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"sqlite": f"sqlite:///{tmp_path / 'lambent.db'}"}[request.param]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def reopen(location: str, clock: ManualClock) -> Iterator[Open]:
    """Opens the store, as often as asked: what was acknowledged must be there each time."""
    opened: list[SqlStore] = []

    def once_more() -> SqlStore:
        opened.append(SqlStore.open(location, clock))
        return opened[-1]

    yield once_more
    for store in opened:
        store.close()


@pytest.fixture
def store(reopen: Open) -> SqlStore:
    return reopen()


def spec(name: str = "digits", **fields: object) -> DeploymentSpec:
    return msgspec.convert({"name": name, "kind": Kind.MODEL, **fields}, DeploymentSpec)


def commit(store: SqlStore, what: DeploymentSpec, *, app: str = "", model: Model | None = None) -> Revision:
    return store.deployments.commit(
        what, project="default", app=app, code_digest="c0de", model=model, activate_as=app
    )


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


def ticket(number: int, **fields: object) -> Ticket:
    defaults = {
        "id": f"ticket-{number}",
        "project": "default",
        "deployment": "hello",
        "body": b"\x00\xff\n",
        "content_type": "application/octet-stream",
        "state": TicketState.QUEUED,
        "created_unix_ms": number,
    }
    return msgspec.convert(defaults | fields, Ticket)


def test_the_repositories_are_those_of_the_protocols(store: SqlStore) -> None:
    deployments: Deployments = store.deployments
    models: Models = store.models
    runs: Runs = store.runs
    keys: Keys = store.keys
    tickets: Tickets = store.tickets
    assert all((deployments, models, runs, keys, tickets))


# --- deployments


def test_a_committed_revision_is_there_after_the_store_is_opened_again(store: SqlStore, reopen: Open) -> None:
    full = spec(env={"B": "2", "A": "1"}, imports=["numpy"], memory_bytes=2**40, timeout_s=0.25)
    made = commit(store, full, app="vision")
    store.close()
    again = reopen()
    assert again.deployments.revision(made.id) == made
    assert made.spec == full
    found = again.deployments.find("default", "digits")
    assert found is not None
    assert (found.app, found.active_revision) == ("vision", made.id)


def test_each_new_content_gets_the_next_number_and_becomes_active(store: SqlStore) -> None:
    made = [commit(store, spec(description=text)) for text in "abc"]
    assert [revision.number for revision in made] == [1, 2, 3]
    assert active(store) == made[2].id
    assert [revision.number for revision in store.deployments.revisions("default", "digits")] == [3, 2, 1]


def test_committing_equal_content_activates_the_revision_that_has_it(
    store: SqlStore, clock: ManualClock
) -> None:
    first = commit(store, spec(env={"A": "1", "B": "2"}))
    commit(store, spec(description="other"))
    clock.advance(10)
    again = commit(store, spec(env={"B": "2", "A": "1"}))
    assert again == first
    assert active(store) == first.id
    assert len(store.deployments.revisions("default", "digits")) == 2


def test_the_id_of_a_revision_covers_project_name_spec_code_and_model(store: SqlStore) -> None:
    model = store.models.register(
        project="default", name="digits", digest="m0del", size_bytes=1, metrics={}, run=""
    )
    made = [
        commit(store, spec()),
        commit(store, spec("other")),
        commit(store, spec(timeout_s=1.0)),
        commit(store, spec(), model=model),
        store.deployments.commit(
            spec(), project="default", app="", code_digest="0ther", model=None, activate_as=""
        ),
        store.deployments.commit(
            spec(), project="second", app="", code_digest="c0de", model=None, activate_as=""
        ),
    ]
    assert len({revision.id for revision in made}) == len(made)
    assert all(len(revision.id) == 16 for revision in made)
    assert (made[3].model_digest, made[3].model_number) == ("m0del", 1)
    assert (made[0].model_digest, made[0].model_number) == ("", None)


def test_an_app_does_not_take_a_name_from_another_app(store: SqlStore) -> None:
    before = commit(store, spec(), app="vision")
    for other in ("speech", ""):
        with pytest.raises(Conflict, match="'vision'"):
            commit(store, spec(description="mine"), app=other)
    assert active(store) == before.id
    assert len(store.deployments.revisions("default", "digits")) == 1


def test_an_app_takes_over_a_name_that_no_app_declared(store: SqlStore) -> None:
    commit(store, spec())
    commit(store, spec(description="of an app"), app="vision")
    found = store.deployments.find("default", "digits")
    assert found is not None
    assert found.app == "vision"


def test_activate_goes_back_to_an_earlier_revision(store: SqlStore) -> None:
    first, _ = commit(store, spec(description="a")), commit(store, spec(description="b"))
    assert store.deployments.activate("default", "digits", first.id).active_revision == first.id
    assert active(store) == first.id


def test_activate_refuses_what_the_deployment_does_not_have(store: SqlStore) -> None:
    mine = commit(store, spec())
    other = commit(store, spec("other"))
    for project, name, revision in [
        ("default", "digits", "0" * 16),
        ("default", "digits", other.id),
        ("default", "nobody", mine.id),
        ("second", "digits", mine.id),
    ]:
        with pytest.raises(NotFound):
            store.deployments.activate(project, name, revision)
    assert active(store) == mine.id


def test_deployments_are_listed_by_project_or_all_together(store: SqlStore) -> None:
    commit(store, spec("b"))
    commit(store, spec("a"))
    store.deployments.commit(spec("c"), project="aa", app="", code_digest="", model=None, activate_as="")
    assert [found.name for found in store.deployments.all("default")] == ["a", "b"]
    assert [(found.project, found.name) for found in store.deployments.all()] == [
        ("aa", "c"),
        ("default", "a"),
        ("default", "b"),
    ]
    assert store.deployments.find("default", "c") is None


def test_remove_forgets_the_deployment_its_revisions_and_its_models(store: SqlStore) -> None:
    register(store, "digits")
    register(store, "other")
    made = commit(store, spec())
    other = commit(store, spec("other"))
    store.deployments.remove("default", "digits")
    assert store.deployments.find("default", "digits") is None
    assert store.models.all("default", "digits") == []
    with pytest.raises(NotFound):
        store.deployments.revision(made.id)
    with pytest.raises(NotFound):
        store.deployments.remove("default", "digits")
    assert store.deployments.revision(other.id) == other
    assert store.models.latest("default", "other") is not None
    assert commit(store, spec()) == made, "a name that is used again starts again at number 1"


def test_two_threads_that_commit_one_name_at_once_both_succeed(store: SqlStore) -> None:
    def commits(who: str) -> list[Revision]:
        return [commit(store, spec(description=f"{who}-{turn}")) for turn in range(COMMITS_EACH)]

    with ThreadPoolExecutor(2) as threads:
        made = [revision for batch in threads.map(commits, ["left", "right"]) for revision in batch]
    assert sorted(revision.number for revision in made) == list(range(1, 2 * COMMITS_EACH + 1))
    assert active(store) == max(made, key=lambda revision: revision.number).id


def test_two_processes_that_commit_one_name_at_once_both_succeed(store: SqlStore, location: str) -> None:
    writers = [writer(location, who) for who in ("left", "right")]
    for process in writers:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
    results = []
    for process in writers:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in writers:
        results += [line.split() for line in process.communicate(timeout=30)[0].splitlines()]
        assert process.returncode == 0
    assert sorted(int(number) for _, number in results) == list(range(1, 2 * COMMITS_EACH + 1))
    assert active(store) == max(results, key=lambda result: int(result[1]))[0]


def test_what_a_killed_process_was_told_is_committed_is_there(store: SqlStore, location: str) -> None:
    process = writer(location, "doomed", commits=100_000)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    told = [process.stdout.readline() for _ in range(20)][1:]
    process.kill()
    with process:  # closes the pipes and waits
        told += process.stdout.read().splitlines()
    acknowledged = [line.split()[0] for line in told if len(line.split()) == 2]
    assert len(acknowledged) >= 19
    there = {revision.id for revision in store.deployments.revisions("default", "digits")}
    # The last line may have been cut in the middle by the kill.
    assert there.issuperset(identity for identity in acknowledged if len(identity) == 16)
    assert active(store) in there


# --- models


def test_models_are_numbered_by_name_and_the_latest_is_the_highest(store: SqlStore, reopen: Open) -> None:
    for digest in ("one", "two"):
        register(store, "digits", digest=digest, metrics={"accuracy": 0.97, "loss": 1e-3})
    register(store, "other")
    store.close()
    again = reopen()
    latest = again.models.latest("default", "digits")
    assert latest is not None
    assert (latest.number, latest.digest, latest.metrics) == (2, "two", {"accuracy": 0.97, "loss": 1e-3})
    assert [(model.name, model.number) for model in again.models.all("default")] == [
        ("digits", 2),
        ("digits", 1),
        ("other", 1),
    ]
    assert [model.number for model in again.models.all("default", "other")] == [1]
    assert again.models.latest("second", "digits") is None


def test_two_threads_never_register_one_number_twice(store: SqlStore) -> None:
    with ThreadPoolExecutor(2) as threads:
        made = list(threads.map(lambda turn: register(store, "digits", digest=str(turn)), range(24)))
    assert sorted(model.number for model in made) == list(range(1, 25))


# --- runs


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
        store.runs.put(run_of(number, created_unix_ms=7, job=f"job-{number % 2}", for_deployment=str(number)))
    store.runs.put(run_of(1, created_unix_ms=7, job="job-1", for_deployment="1", progress=0.5))
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


# --- tickets


def test_a_ticket_keeps_its_bytes_and_is_found_in_its_project_only(store: SqlStore, reopen: Open) -> None:
    kept = ticket(1, state=TicketState.SUCCEEDED, result=bytes(range(256)), result_type="image/png")
    store.tickets.put(ticket(1))
    store.tickets.put(kept)
    store.close()
    again = reopen()
    assert again.tickets.find("default", "ticket-1") == kept
    assert again.tickets.find("second", "ticket-1") is None


def test_due_tickets_come_oldest_first_and_not_before_their_time(store: SqlStore) -> None:
    for number, due in [(1, 50), (2, 10), (3, 10), (4, 101)]:
        store.tickets.put(ticket(number, due_unix_ms=due))
    store.tickets.put(ticket(5, due_unix_ms=1, state=TicketState.RUNNING))
    assert [found.id for found in store.tickets.due(100, limit=10)] == ["ticket-2", "ticket-3", "ticket-1"]
    assert [found.id for found in store.tickets.due(100, limit=2)] == ["ticket-2", "ticket-3"]


def test_what_was_running_at_a_crash_is_queued_again(store: SqlStore) -> None:
    store.tickets.put(ticket(1, state=TicketState.RUNNING, attempts=1))
    store.tickets.put(ticket(2, state=TicketState.DEAD, error="three times"))
    assert store.tickets.requeue_running() == 1
    assert store.tickets.requeue_running() == 0
    assert [(found.id, found.attempts) for found in store.tickets.due(0, limit=10)] == [("ticket-1", 1)]
    assert store.tickets.counts("default") == {TicketState.QUEUED: 1, TicketState.DEAD: 1}
    assert store.tickets.counts("second") == {}


def test_only_final_tickets_are_forgotten(store: SqlStore) -> None:
    for number, state in enumerate(TicketState):
        store.tickets.put(ticket(number, state=state, created_unix_ms=5))
    store.tickets.put(ticket(9, state=TicketState.DEAD, created_unix_ms=6))
    assert store.tickets.forget_final(before_unix_ms=6) == 2
    assert store.tickets.counts("default") == {
        TicketState.QUEUED: 1,
        TicketState.RUNNING: 1,
        TicketState.DEAD: 1,
    }


def active(store: SqlStore) -> str:
    found = store.deployments.find("default", "digits")
    assert found is not None
    return found.active_revision


def register(
    store: SqlStore, name: str, *, digest: str = "d", metrics: dict[str, float] | None = None
) -> Model:
    return store.models.register(
        project="default", name=name, digest=digest, size_bytes=1, metrics=metrics or {}, run="r"
    )


def writer(location: str, who: str, *, commits: int = COMMITS_EACH) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, location, who, str(commits)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
