"""What every store must do with the versions of datasets."""

from collections.abc import Callable

import msgspec
import pytest

from lambent.core.datasets import DatasetKind
from lambent.core.errors import NotFound
from lambent.storage.base import Run, RunState
from lambent.storage.datasets import DatasetVersion
from lambent.storage.sql import SqlStore

Open = Callable[[], SqlStore]


def version(digest: str, name: str = "digits", project: str = "default") -> DatasetVersion:
    return DatasetVersion(
        project=project,
        name=name,
        number=0,
        digest=digest * 64,
        kind=DatasetKind.NUMPY,
        size_bytes=2**40,
        files=3,
        created_unix_ms=7,
    )


def test_versions_count_from_one_and_the_same_content_has_the_same_number(
    store: SqlStore, reopen: Open
) -> None:
    first, is_new = store.datasets.add(version("a"))
    assert (first.number, is_new) == (1, True)
    assert store.datasets.add(version("b"))[0].number == 2
    assert store.datasets.add(version("a")) == (first, False)
    assert store.datasets.add(version("a", "other"))[0].number == 1
    assert store.datasets.add(version("a", project="second"))[0].number == 1
    store.close()
    again = reopen().datasets
    assert again.find("default", "digits", 1) == first
    newest = again.find("default", "digits")
    assert newest == msgspec.structs.replace(version("b"), number=2)
    assert [(one.name, one.number) for one in again.versions("default")] == [
        ("digits", 2),
        ("digits", 1),
        ("other", 1),
    ]
    assert [one.number for one in again.versions("second", "digits")] == [1]
    assert again.find("third", "digits") is None


def test_no_number_is_given_twice_and_what_comes_back_has_its_own(store: SqlStore) -> None:
    for digest in "abc":
        store.datasets.add(version(digest))
    assert [one.number for one in store.datasets.remove("default", "digits", 3)] == [3]
    assert store.datasets.find("default", "digits", 3) is None
    assert store.datasets.digests() == {"a" * 64, "b" * 64}
    assert store.datasets.add(version("d"))[0].number == 4
    back, is_new = store.datasets.add(version("c"))
    assert (back.number, back.removed, is_new) == (3, False, True)
    assert len(store.datasets.remove("default", "digits")) == 4
    assert store.datasets.versions("default") == []
    assert store.datasets.digests() == frozenset()
    for number in (None, 1):
        with pytest.raises(NotFound, match="digits"):
            store.datasets.remove("default", "digits", number)


@pytest.mark.parametrize("state", RunState)
def test_what_a_run_is_held_to_stays_until_it_has_ended(store: SqlStore, state: RunState) -> None:
    for digest in "ab":
        store.datasets.add(version(digest))
    store.datasets.add(version("c", "other"))
    pinned = store.datasets.newest("default")
    assert pinned == {"digits": 2, "other": 1}
    store.runs.put(
        Run(
            id="run",
            project="default",
            job="fit",
            for_deployment="",
            state=state,
            created_unix_ms=1,
            datasets={"digits": 2},
        )
    )
    store.datasets.remove("default", "digits")
    kept = {"c" * 64, "b" * 64} if state in (RunState.QUEUED, RunState.RUNNING) else {"c" * 64}
    assert store.datasets.digests() == kept
    held = store.datasets.held("default", pinned)
    assert sorted((one.name, one.number, one.removed) for one in held) == [
        ("digits", 2, True),
        ("other", 1, False),
    ]
    assert store.datasets.newest("default") == {"other": 1}
    assert store.datasets.held("default", {}) == store.datasets.held("second", pinned) == []
