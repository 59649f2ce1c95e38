"""Who answers for a deployment, from one moment to the next, and who is told of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.errors import NotFound
from lambent.core.routing import OWN, Split, pinned
from lambent.core.spec import DeploymentSpec, Kind
from lambent.pool.routes import Arrangement, Route, Routes
from lambent.wire.process import RevisionPlan, Runtime


def route(revision: str, *, beside: bool = False) -> Route:
    plan = RevisionPlan(revision=revision, deployment="f", project="p", number=1, runtime=Runtime.HANDLER)
    spec = DeploymentSpec(name="f", kind=Kind.FUNCTION)
    return Route(project="p", name="f", spec=spec, plan=plan, beside=beside)


def target(routes: Routes, alias: str = OWN, key: str = "k") -> str:
    return routes.target("p", "f", alias=alias, key=key).plan.revision


def test_an_alias_answers_with_its_revision_and_the_name_with_the_active() -> None:
    routes = Routes()
    routes.arrange(Arrangement(route("b"), (route("a", beside=True),), {"prod": Split(revision="a")}))
    assert (target(routes), target(routes, "prod")) == ("b", "a")
    with pytest.raises(NotFound, match="no alias 'live'"):
        target(routes, "live")


def test_a_revision_that_is_pinned_answers_whatever_is_split_and_as_long_as_it_is_live() -> None:
    routes = Routes()
    own = {OWN: Split(revision="a", candidate="b", percent=100)}
    routes.arrange(Arrangement(route("a"), (route("b", beside=True),), own))
    assert (target(routes, pinned("a")), target(routes, pinned("b"))) == ("a", "b")
    routes.arrange(Arrangement(route("b")))
    with pytest.raises(NotFound):
        target(routes, pinned("a"))


def test_the_revision_that_an_alias_names_stays_live_under_deploys_and_goes_with_the_alias() -> None:
    routes = Routes()
    told: list[tuple[str, str]] = []
    routes.put(route("a"))
    routes.subscribe(lambda before, after: told.append((_name(before), _name(after))))
    routes.arrange(Arrangement(route("b"), (route("a", beside=True),), {"prod": Split(revision="a")}))
    assert told == [("a", "b"), ("-", "a beside")]
    routes.put(route("c"))
    assert target(routes, "prod") == "a"
    assert {one.plan.revision for one in routes.live()} == {"a", "c"}
    told.clear()
    routes.arrange(Arrangement(route("c"), (route("a", beside=True),), {}))
    assert told == [("a beside", "-"), ("c", "c")]
    assert [one.plan.revision for one in routes.live()] == ["c"]


def test_a_candidate_that_takes_over_is_live_all_the_time() -> None:
    routes = Routes()
    own = {OWN: Split(revision="a", candidate="b", percent=10)}
    routes.arrange(Arrangement(route("a"), (route("b", beside=True),), own))
    seen: list[bool] = []
    routes.subscribe(lambda before, after: seen.append(routes.of_revision("b") is not None))
    routes.arrange(Arrangement(route("b")))
    assert seen
    assert all(seen)
    assert target(routes) == "b"


def test_what_is_removed_is_not_live_under_any_name() -> None:
    routes = Routes()
    routes.arrange(Arrangement(route("b"), (route("a", beside=True),), {"prod": Split(revision="a")}))
    routes.remove("p", "f")
    assert list(routes.live()) == []
    with pytest.raises(NotFound):
        target(routes, "prod")


def test_an_alias_of_a_revision_that_is_not_there_is_none() -> None:
    routes = Routes()
    routes.arrange(Arrangement(route("b"), (), {"prod": Split(revision="lost")}))
    with pytest.raises(NotFound, match="no alias 'prod'"):
        target(routes, "prod")


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"),
            st.sets(st.sampled_from("abcd")),
            st.dictionaries(
                st.sampled_from([OWN, "x", "y"]),
                st.builds(
                    Split,
                    revision=st.sampled_from("abcd"),
                    candidate=st.sampled_from(["", *"abcd"]),
                    percent=st.sampled_from([0.0, 50.0, 100.0]),
                ),
            ),
        ),
        max_size=8,
    )
)
def test_every_target_is_live_and_listeners_know_what_is(
    history: list[tuple[str, set[str], dict[str, Split]]],
) -> None:
    routes = Routes()
    known: dict[tuple[str, str], str] = {}

    def hear(before: Route | None, after: Route | None) -> None:
        if before is not None:
            assert known.pop(before.lane) == before.plan.revision
        if after is not None:
            known[after.lane] = after.plan.revision

    routes.subscribe(hear)
    for active, beside, splits in history:
        others = tuple(route(one, beside=True) for one in sorted(beside - {active}))
        routes.arrange(Arrangement(route(active), others, splits))
        live = {one.plan.revision for one in routes.live()}
        assert sorted(known.values()) == sorted(live)
        arranged = routes.arrangement("p", "f")
        assert arranged is not None
        for alias in {OWN, *arranged.splits}:
            for key in "klm":
                assert target(routes, alias, key) in live


def _name(one: Route | None) -> str:
    if one is None:
        return "-"
    return one.plan.revision + (" beside" if one.beside else "")
