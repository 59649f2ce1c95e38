"""Aliases and revisions on trial, through the control API: on disk, then live."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from lambent.core.canary import Action, Verdict
from lambent.core.errors import LoadFailed, StorageFull
from lambent.core.invocation import Role
from lambent.core.routing import OWN
from lambent.pool.routes import Routes
from lambent.pool.trials import Terms, Trials
from lambent.wire.aliases import Canary
from tests.unit.control.house import PROJECT, House, play

ALIASES = "/deployments/hello/aliases"


def answers(house: House, alias: str = OWN, key: str = "k", routes: Routes | None = None) -> int:
    return (routes or house.routes).target(PROJECT, "hello", alias=alias, key=key).plan.number


async def deploy(house: House, *contents: bytes, canary: Canary | None = None) -> None:
    for content in contents:
        request = msgspec.structs.replace(house.code(content), canary=canary)
        assert (await house.call("POST", "/deployments", msgspec.to_builtins(request))).status == 200


async def restarted(house: House) -> tuple[Routes, Trials]:
    routes, trials = Routes(), Trials(house.clock)
    await house.new_deployments(house.new_activation(routes, trials)).restore()
    return routes, trials


async def put(house: House, alias: str, **wanted: object) -> int:
    return (await house.call("PUT", f"{ALIASES}/{alias}", wanted)).status


def test_an_alias_answers_with_its_revision_through_deploys_and_restarts_until_it_goes(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        await deploy(house, b"1", b"2")
        assert await put(house, "prod", revision=1) == 200
        await deploy(house, b"3")
        routes, _ = await restarted(house)
        for table in (house.routes, routes):
            assert (answers(house, routes=table), answers(house, "prod", routes=table)) == (3, 1)
        listed = (await house.call("GET", ALIASES, role=Role.READ)).json()
        assert [(one["name"], one["revision"], one["candidate"]) for one in listed] == [("prod", 1, None)]
        shown = (await house.call("GET", "/deployments/hello")).json()
        assert shown["aliases"] == listed
        assert (await house.call("DELETE", f"{ALIASES}/prod")).status == 204
        assert (await house.call("DELETE", f"{ALIASES}/prod")).status == 404
        assert len(list(house.routes.live())) == 1

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("alias", "wanted", "status", "told"),
    [
        ("3", {"revision": 1}, 422, "not a name for an alias"),
        ("prod", {"revision": 9}, 404, "no revision 9"),
        ("prod", {"revision": 1, "percent": 10}, 422, "for two revisions"),
        ("prod", {"revision": 1, "candidate": 1, "percent": 10}, 422, "beside itself"),
        ("prod", {"revision": 1, "candidate": 2, "percent": 101}, 422, "<= 100"),
        ("prod", {"revision": 1, "candidate": 2, "max_error_rate": 0}, 422, "0.001"),
        ("prod", {"revision": 1, "sticky_header": "no good"}, 422, "not the name of a header"),
        ("prod", {}, 422, "revision"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    tmp_path: Path, alias: str, wanted: dict[str, object], status: int, told: str
) -> None:
    async def story(house: House) -> None:
        await deploy(house, b"1", b"2")
        refused = await house.call("PUT", f"{ALIASES}/{alias}", wanted)
        assert refused.status == status
        assert told in refused.json()["detail"]
        assert (await house.call("GET", ALIASES)).json() == []

    play(tmp_path, story)


def test_a_revision_that_does_not_load_gets_no_alias(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await deploy(house, b"1", b"2", b"3")
        house.loads.load_fails["hello"] = LoadFailed("no such file")
        assert await put(house, "prod", revision=1) == 502
        assert (await house.call("GET", ALIASES)).json() == []
        assert len(list(house.routes.live())) == 1

    play(tmp_path, story)


def test_a_canary_gets_its_share_survives_a_restart_grows_and_takes_over(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await deploy(house, b"1")
        await deploy(house, b"2", canary=Canary(percent=30, sticky_header="X-User"))
        routes, trials = await restarted(house)
        callers = [f"caller {number}" for number in range(200)]
        tried = {key for key in callers if answers(house, key=key) == 2}
        assert 30 <= len(tried) <= 90
        assert tried == {key for key in callers if answers(house, key=key, routes=routes) == 2}
        assert trials.standing((PROJECT, "hello", OWN)) is not None
        assert (await house.call("GET", "/deployments/hello")).json()["deployment"]["number"] == 1
        [listed] = (await house.call("GET", ALIASES)).json()
        assert (listed["revision"], listed["candidate"], listed["sticky_header"]) == (1, 2, "x-user")
        assert (await house.call("POST", "/deployments/hello/promote", {"percent": 60})).status == 200
        assert tried < {key for key in callers if answers(house, key=key) == 2}
        assert (await house.call("POST", "/deployments/hello/promote", {})).status == 200
        assert {answers(house, key=key) for key in callers} == {2}
        assert (await house.call("GET", ALIASES)).json() == []
        nothing = await house.call("POST", "/deployments/hello/promote", {})
        assert (nothing.status, nothing.json()["detail"]) == (
            404,
            "'hello' has nothing on trial beside its active revision",
        )

    play(tmp_path, story)


def test_a_rollback_ends_what_is_on_trial_and_loads_nothing(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await deploy(house, b"1", b"2")
        await deploy(house, b"3", canary=Canary(percent=100))
        assert answers(house) == 3
        house.loads.load_fails["hello"] = LoadFailed("it must not be loaded")
        back = await house.call("POST", "/deployments/hello/rollback", {})
        assert (back.status, back.json()["number"]) == (200, 2)
        assert answers(house) == 2
        assert (await house.call("GET", ALIASES)).json() == []

    play(tmp_path, story)


def test_a_deploy_ends_what_is_on_trial_and_the_first_one_tries_nothing(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await deploy(house, b"1", canary=Canary(percent=10))
        assert answers(house) == 1
        await deploy(house, b"2", canary=Canary(percent=100))
        await deploy(house, b"3")
        assert {answers(house, key=str(key)) for key in range(50)} == {3}
        assert len(list(house.routes.live())) == 1

    play(tmp_path, story)


def test_the_answer_to_a_deploy_says_what_is_on_trial(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await deploy(house, b"1")
        request = msgspec.structs.replace(house.code(b"2"), canary=Canary(percent=5))
        reply = (await house.call("POST", "/deployments", msgspec.to_builtins(request))).json()
        assert (reply["changed"], reply["on_trial"]) == (["hello"], ["hello"])
        assert reply["deployments"][0]["number"] == 2

    play(tmp_path, story)


async def verdict(house: House, alias: str, action: Action) -> None:
    split = house.routes.split(PROJECT, "hello", alias)
    assert split is not None
    key = (PROJECT, "hello", alias)
    terms = Terms(
        revision=split.revision,
        candidate=split.candidate,
        guard=house.trials._trials[key].terms.guard,  # noqa: SLF001  # what it watches is what is to be seen
        began_unix_ms=0,
    )
    house.aliasing.carry_out(key, terms, Verdict(action, "6 of 6 calls failed"))


@pytest.mark.parametrize("alias", [OWN, "prod"])
def test_what_goes_back_gets_no_call_from_that_moment_on_and_says_why(tmp_path: Path, alias: str) -> None:
    async def story(house: House) -> None:
        await deploy(house, b"1")
        await deploy(house, b"2", canary=Canary(percent=100))
        if alias:
            await deploy(house, b"2")
            assert await put(house, alias, revision=1, candidate=2, percent=100, max_error_rate=0.05) == 200
        assert answers(house, alias) == 2
        await verdict(house, alias, Action.ROLL_BACK)
        assert answers(house, alias) == 1  # at once, before anything is on disk
        await settled()
        [listed] = (await house.call("GET", ALIASES)).json()
        assert (listed["revision"], listed["candidate"]) == (1, None)
        assert listed["note"] == "revision 2 went back: 6 of 6 calls failed"
        routes, trials = await restarted(house)
        assert answers(house, alias, routes=routes) == 1
        assert trials.watched(PROJECT, "hello") == house.trials.watched(PROJECT, "hello") == ()

    play(tmp_path, story)


@pytest.mark.parametrize("alias", [OWN, "prod"])
def test_what_was_well_takes_over(tmp_path: Path, alias: str) -> None:
    async def story(house: House) -> None:
        await deploy(house, b"1")
        canary = Canary(percent=10, promote_after_s=60)
        await deploy(house, b"2", canary=canary)
        if alias:
            assert await put(house, alias, revision=1, candidate=2, percent=10, promote_after_s=60) == 200
        await verdict(house, alias, Action.PROMOTE)
        await settled()
        assert {answers(house, alias, str(key)) for key in range(50)} == {2}
        routes, _ = await restarted(house)
        assert {answers(house, alias, str(key), routes) for key in range(50)} == {2}

    play(tmp_path, story)


def test_a_rollback_that_cannot_be_stored_holds_and_is_stored_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(house: House) -> None:
        await deploy(house, b"1")
        await deploy(house, b"2", canary=Canary(percent=100))
        full = StorageFull("no room")

        def refuse(*_: object, **__: object) -> bool:
            raise full

        with monkeypatch.context() as patch:
            patch.setattr(house.store.aliases, "end_trial", refuse)
            await verdict(house, OWN, Action.ROLL_BACK)
            await settled()
        assert answers(house) == 1
        key = (PROJECT, "hello", OWN)
        trial = house.trials._trials[key]  # noqa: SLF001  # that it goes on watching is what is to be seen
        house.aliasing.carry_out(key, trial.terms, Verdict(Action.ROLL_BACK, "again"))
        await settled()
        routes, _ = await restarted(house)
        assert answers(house, routes=routes) == 1

    play(tmp_path, story)


async def settled() -> None:
    """Until what a verdict started has ended."""
    while verdicts := [task for task in asyncio.all_tasks() if task.get_name().startswith("verdict on")]:
        await asyncio.wait(verdicts)
