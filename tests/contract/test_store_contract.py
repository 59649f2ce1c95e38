"""What every store must do with deployments and models, whatever keeps it."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from lambent.core.errors import Conflict, NotFound
from lambent.core.spec import DeploymentSpec, Kind
from lambent.storage.base import (
    Deployments,
    Keys,
    Model,
    Models,
    Revision,
    Runs,
)
from lambent.storage.sql import SqlStore
from lambent.storage.tickets import Tickets
from tests.support.patience import PATIENT_S
from tests.support.virtual_time import ManualClock

COMMITS_EACH = 12
WRITER = """
import sys
from lambent.clock import SystemClock
from lambent.core.spec import DeploymentSpec, Kind
from lambent.storage.sql import SqlStore
from lambent.storage.tickets import Tickets
location, who, commits = sys.argv[1:]
store = SqlStore.open(location, SystemClock())
print("open", flush=True)
sys.stdin.readline()
for turn in range(int(commits)):
    spec = DeploymentSpec(name="digits", kind=Kind.MODEL, description=f"{who}-{turn}")
    made = store.deployments.commit(
        spec, project="default", app="", code_digest="c", model=None
    )
    print(made.id, made.number, flush=True)
"""

Open = Callable[[], SqlStore]


def spec(name: str = "digits", **fields: object) -> DeploymentSpec:
    return msgspec.convert({"name": name, "kind": Kind.MODEL, **fields}, DeploymentSpec)


def commit(store: SqlStore, what: DeploymentSpec, *, app: str = "", model: Model | None = None) -> Revision:
    return store.deployments.commit(what, project="default", app=app, code_digest="c0de", model=model)


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
        store.deployments.commit(spec(), project="default", app="", code_digest="0ther", model=None),
        store.deployments.commit(spec(), project="second", app="", code_digest="c0de", model=None),
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
    store.deployments.commit(spec("c"), project="aa", app="", code_digest="", model=None)
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
        results += [line.split() for line in process.communicate(timeout=PATIENT_S)[0].splitlines()]
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


def test_a_run_registers_one_model_however_often_it_says_so(store: SqlStore) -> None:
    first = register(store, "digits", digest="one", run="r")
    assert register(store, "digits", digest="two", run="r") == first
    assert register(store, "other", digest="two", run="r").number == 1
    assert register(store, "digits", digest="two", run="s").number == 2


def test_a_refused_model_has_a_number_and_is_not_the_latest(store: SqlStore) -> None:
    served = register(store, "digits", digest="one")
    refused = register(store, "digits", digest="two", run="r", refused="not good enough")
    assert store.models.latest("default", "digits") == served
    assert store.models.find("default", "digits", 2) == refused
    assert store.models.find("default", "digits", 3) is None
    assert register(store, "digits", digest="three").number == 3


def test_two_threads_never_register_one_number_twice(store: SqlStore) -> None:
    with ThreadPoolExecutor(2) as threads:
        made = list(threads.map(lambda turn: register(store, "digits", digest=str(turn)), range(24)))
    assert sorted(model.number for model in made) == list(range(1, 25))


def active(store: SqlStore) -> str:
    found = store.deployments.find("default", "digits")
    assert found is not None
    return found.active_revision


def register(
    store: SqlStore,
    name: str,
    *,
    digest: str = "d",
    metrics: dict[str, float] | None = None,
    run: str = "",
    refused: str = "",
) -> Model:
    return store.models.register(
        project="default",
        name=name,
        digest=digest,
        size_bytes=1,
        metrics=metrics or {},
        run=run,
        refused=refused,
    )


def writer(location: str, who: str, *, commits: int = COMMITS_EACH) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, location, who, str(commits)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
