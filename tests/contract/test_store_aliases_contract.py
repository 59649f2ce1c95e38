"""What every store must do with aliases, whatever keeps it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from lambent.core.errors import Conflict, NotFound
from lambent.core.routing import OWN
from lambent.core.spec import DeploymentSpec, Kind
from lambent.storage.aliases import Alias, Aliases
from lambent.storage.base import Revision
from lambent.storage.sql import SqlStore

Open = Callable[[], SqlStore]
PROJECT = "default"


def commit(store: SqlStore, description: str = "", name: str = "f") -> Revision:
    spec = DeploymentSpec(name=name, kind=Kind.FUNCTION, description=description)
    return store.deployments.commit(spec, project=PROJECT, app="", code_digest="c0de", model=None)


def alias(revision: str, name: str = "prod", **more: object) -> Alias:
    made = Alias(project=PROJECT, deployment="f", name=name, revision=revision, changed_unix_ms=7)
    return msgspec.structs.replace(made, **more)


def wanted(description: str) -> Revision:
    spec = DeploymentSpec(name="f", kind=Kind.FUNCTION, description=description)
    return Revision(
        id=f"id-{description}", project=PROJECT, deployment="f", number=0, spec=spec, code_digest="c0de",
        model_digest="", model_number=None, created_unix_ms=3,
    )  # fmt: skip


def test_an_alias_is_there_after_the_store_is_opened_again(store: SqlStore, reopen: Open) -> None:
    aliases: Aliases = store.aliases
    first, second = commit(store), commit(store, "second")
    put = alias(
        first.id, candidate=second.id, percent=12.5, sticky_header="x-user", max_error_rate=0.05,
        max_p95_ms=300.0, promote_after_s=60.0, note="it went well",
    )  # fmt: skip
    aliases.put(put)
    assert reopen().aliases.of(PROJECT, "f") == [put]
    aliases.put(alias(second.id))
    assert reopen().aliases.of(PROJECT, "f") == [alias(second.id)]
    aliases.remove(PROJECT, "f", "prod")
    assert reopen().aliases.of(PROJECT, "f") == []
    with pytest.raises(NotFound):
        aliases.remove(PROJECT, "f", "prod")


def test_an_alias_of_what_is_not_there_is_refused(store: SqlStore) -> None:
    with pytest.raises(NotFound, match="no deployment"):
        store.aliases.put(alias("r"))
    mine, other = commit(store), commit(store, name="g")
    for wrong in (alias("r"), alias(mine.id, candidate="r"), alias(other.id)):
        with pytest.raises(NotFound, match="has no revision"):
            store.aliases.put(wrong)
    assert store.aliases.of(PROJECT, "f") == []


def test_aliases_go_with_their_deployment(store: SqlStore) -> None:
    store.aliases.put(alias(commit(store).id))
    store.deployments.remove(PROJECT, "f")
    assert commit(store).number == 1
    assert store.aliases.of(PROJECT, "f") == []


def test_what_is_tried_out_is_stored_and_not_active(store: SqlStore, reopen: Open) -> None:
    first = commit(store)
    trial = alias(first.id, OWN, candidate="id-second", percent=10.0)
    made = store.aliases.try_out(wanted("second"), trial)
    assert (made.number, made.id) == (2, "id-second")
    later = reopen()
    deployment = later.deployments.find(PROJECT, "f")
    assert deployment is not None
    assert deployment.active_revision == first.id
    assert later.deployments.revision("id-second") == made
    assert later.aliases.of(PROJECT, "f") == [trial]
    assert store.aliases.try_out(wanted("second"), trial) == made


def test_what_is_tried_out_beside_another_revision_than_the_active_is_refused(store: SqlStore) -> None:
    first = commit(store)
    commit(store, "second")
    with pytest.raises(Conflict, match="has changed meanwhile"):
        store.aliases.try_out(wanted("third"), alias(first.id, OWN, candidate="id-third"))
    assert [one.number for one in store.deployments.revisions(PROJECT, "f")] == [2, 1]


def test_a_deploy_and_a_rollback_end_the_deployments_own_trial_and_no_other(store: SqlStore) -> None:
    first = commit(store)
    kept = alias(first.id)
    store.aliases.put(kept)
    for change in (
        lambda: commit(store, "third"),
        lambda: store.deployments.activate(PROJECT, "f", first.id),
    ):
        active = store.deployments.find(PROJECT, "f")
        assert active is not None
        own = alias(active.active_revision, OWN, candidate="id-second", percent=10.0)
        store.aliases.try_out(wanted("second"), own)
        assert store.aliases.of(PROJECT, "f") == [own, kept]
        change()
        assert store.aliases.of(PROJECT, "f") == [kept]


def test_a_trial_is_ended_once(store: SqlStore) -> None:
    first, second = commit(store), commit(store, "second")
    store.aliases.put(alias(first.id, candidate=second.id, percent=10.0))
    ended = alias(first.id, note="it failed")
    assert not store.aliases.end_trial(ended, expects=first.id)
    assert store.aliases.end_trial(ended, expects=second.id)
    assert not store.aliases.end_trial(ended, expects=second.id)
    assert store.aliases.of(PROJECT, "f") == [ended]
    assert not store.aliases.end_trial(msgspec.structs.replace(ended, name="gone"), expects=second.id)
