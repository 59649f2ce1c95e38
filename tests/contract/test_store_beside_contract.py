"""What every store must do with what is kept beside deployments, whatever keeps it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lambent.core.errors import NotFound
from lambent.core.spec import DeploymentSpec, Kind
from lambent.storage.aliases import Alias
from lambent.storage.base import Revision
from lambent.storage.records import Record, Records
from lambent.storage.sql import SqlStore

Open = Callable[[], SqlStore]


def record(name: str, key: str = "", *, kind: str = "layer", project: str = "p", **body: object) -> Record:
    return Record(project=project, kind=kind, name=name, key=key, body=body, changed_unix_ms=7)


def test_what_was_put_is_there_after_the_store_is_opened_again(store: SqlStore, reopen: Open) -> None:
    first = record("a", "1", text="ä", nested={"list": [1, None, True]})
    store.records.put(first, record("a", "2"))
    assert reopen().records.find("p", "layer", "a", "1") == first
    store.records.put(record("a", "1", text="new"))
    found = reopen().records.find("p", "layer", "a", "1")
    assert found is not None
    assert found.body == {"text": "new"}


def test_records_are_told_apart_by_project_kind_name_and_key(store: SqlStore) -> None:
    records: Records = store.records
    records.put(
        record("a", "2"), record("a", "1"), record("b"), record("a", kind="url"), record("a", project="q")
    )
    assert [(one.name, one.key) for one in records.all("p", "layer")] == [("a", "1"), ("a", "2"), ("b", "")]
    assert [one.key for one in records.all("p", "layer", "a")] == ["1", "2"]
    assert records.find("p", "layer", "a") is None
    assert records.find("q", "layer", "a") is not None


def test_what_is_removed_is_gone_and_nothing_else(store: SqlStore) -> None:
    records: Records = store.records
    records.put(record("a", "1"), record("a", "2"), record("a", kind="url"), record("b", kind="url"))
    assert records.remove("p", "layer", "a", "1")
    assert not records.remove("p", "layer", "a", "1")
    assert [one.key for one in records.all("p", "layer")] == ["2"]
    records.forget("p", "a", ["layer", "url"])
    assert records.all("p", "layer") == []
    assert [one.name for one in records.all("p", "url")] == ["b"]


def test_a_revision_is_kept_under_an_alias_without_being_active(store: SqlStore) -> None:
    spec = DeploymentSpec(name="f", kind=Kind.FUNCTION)
    active = store.deployments.commit(spec, project="p", app="", code_digest="c0de", model=None)
    wanted = Revision(
        id="kept", project="p", deployment="f", number=0, spec=spec, code_digest="c0de", model_digest="",
        model_number=None, created_unix_ms=3,
    )  # fmt: skip
    alias = Alias(project="p", deployment="f", name="1", revision="kept", changed_unix_ms=7)
    made = store.aliases.keep(wanted, alias)
    assert (made.id, made.number) == ("kept", active.number + 1)
    assert store.aliases.keep(wanted, alias) == made
    found = store.deployments.find("p", "f")
    assert found is not None
    assert found.active_revision == active.id
    assert store.aliases.of("p", "f") == [alias]
    with pytest.raises(NotFound):
        store.aliases.keep(
            wanted, Alias(project="p", deployment="g", name="1", revision="kept", changed_unix_ms=7)
        )


def test_it_is_known_whose_records_there_are(store: SqlStore) -> None:
    assert list(store.records.projects()) == []
    store.records.put(record("a", project="q"), record("a"), record("b"))
    assert list(store.records.projects()) == ["p", "q"]
