"""What AWS's clients name is looked up once, and anew when it stands for something else."""

import asyncio

import msgspec
import pytest

from lambent.core.routing import Split
from lambent.gateway.protocols.aws import door, naming
from lambent.pool.routes import Arrangement
from tests.unit.gateway.asgi import PROJECT, House

INVOKE = "/2015-03-31/functions/{}/invocations"


def test_a_function_that_changes_is_asked_as_it_is_now(house: House) -> None:
    async def story() -> None:
        key = (await house.key()).api_key
        own = INVOKE.format("hello") + "?Qualifier=3"
        assert (await house.call("POST", own, b"{}", key=key)).status == 200
        house.deploy("hello", number=4)
        assert (await house.call("POST", own, b"{}", key=key)).status == 404
        assert (await house.call("POST", INVOKE.format("hello"), b"{}", key=key)).status == 200
        house.routes.remove(PROJECT, "hello")
        gone = await house.call("POST", INVOKE.format("hello"), b"{}", key=key)
        assert (gone.status, gone.headers["x-amzn-errortype"]) == (404, "ResourceNotFoundException")

    asyncio.run(story())


def test_an_alias_that_is_moved_is_sticky_by_its_new_header(house: House) -> None:
    async def story() -> None:
        key, live = (await house.key()).api_key, INVOKE.format("hello:live")
        route = house.routes.invocable(PROJECT, "hello")
        for header, sticky in (("", ""), ("x-user", "ada")):
            split = Split(revision=route.plan.revision, sticky_header=header)
            house.routes.arrange(Arrangement(route, (), {"live": split}))
            answer = await house.call("POST", live, b"{}", key=key, x_user="ada")
            assert (answer.status, answer.headers["x-amz-executed-version"]) == (200, "live")
            assert house.invoker.asked[-1].sticky == sticky

    asyncio.run(story())


def test_names_of_two_projects_are_two_functions(house: House) -> None:
    async def story() -> None:
        house.deploy("theirs", project="other")
        mine, other = (await house.key()).api_key, (await house.key(project="other")).api_key
        for key, status in ((other, 200), (mine, 404), (other, 200)):
            assert (await house.call("POST", INVOKE.format("theirs"), b"{}", key=key)).status == status

    asyncio.run(story())


def test_no_more_is_remembered_than_is_of_use(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "KNOWN_MAX", 3)
    monkeypatch.setattr(naming, "KNOWN_MAX", 3)

    async def story() -> None:
        key = (await house.key()).api_key
        for number in (*range(10), door.PATH_BYTES_MAX, naming.QUERY_BYTES_MAX):
            for target in (
                INVOKE.format("hello") + f"?a={'1' * number}",
                INVOKE.format("hello") + "/" * number,
                INVOKE.format(f"none{number}"),
            ):
                status = 404 if "none" in target else 200
                assert (await house.call("POST", target, b"{}", key=key)).status == status

    asyncio.run(story())
    assert msgspec.json.decode(house.invoker.asked[-1].body) == {}
