"""Which alias a request asks under, at each door, and by what its caller is known there."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from lambent.core.routing import OWN, Split
from lambent.pool.routes import Arrangement
from lambent.wire.process import Runtime
from tests.unit.gateway.asgi import PROJECT, House, outcome

SPLIT = Split(revision="hello-rev", candidate="other-rev", percent=50, sticky_header="x-user")


def alias(house: House, splits: dict[str, Split], runtime: Runtime = Runtime.HANDLER) -> None:
    """Let `hello` have aliases; another revision of it, number 4, is live beside the active."""
    route = house.routes.get(PROJECT, "hello")
    assert route is not None
    plan = msgspec.structs.replace(route.plan, revision="other-rev", number=4, runtime=runtime)
    other = msgspec.structs.replace(route, plan=plan, beside=True)
    house.routes.arrange(Arrangement(route, (other,), splits))


@pytest.mark.parametrize(
    ("path", "headers", "asked"),
    [
        ("/invoke/hello", {}, OWN),
        ("/invoke/hello?alias=prod", {}, "prod"),
        ("/invoke/hello", {"lambent_alias": "prod"}, "prod"),
        ("/invoke/hello?alias=live", {"lambent_alias": "prod"}, "prod"),
        ("/invoke/hello?alias=", {"lambent_alias": ""}, OWN),
    ],
)
def test_the_header_or_the_query_names_the_alias(
    house: House, path: str, headers: dict[str, Any], asked: str
) -> None:
    alias(house, {"prod": Split(revision="other-rev"), "live": Split(revision="hello-rev")})
    assert asyncio.run(house.call("POST", path, **headers)).status == 200
    assert house.invoker.asked[0].alias == asked


@pytest.mark.parametrize("where", ["/invoke/hello?alias=nope", "/invoke/hello"])
def test_an_alias_that_is_not_there_is_not_found_and_nothing_runs(house: House, where: str) -> None:
    alias(house, {"prod": SPLIT})
    headers: dict[str, Any] = {} if "?" in where else {"lambent_alias": "nope"}
    refused = asyncio.run(house.call("POST", where, **headers))
    assert (refused.status, "no alias 'nope'" in refused.json()["detail"]) == (404, True)
    later = asyncio.run(house.call("POST", where, prefer="respond-async", **headers))
    assert later.status == 404
    assert house.invoker.asked == []
    assert house.queue.tickets == {}


def test_the_caller_is_known_by_the_header_that_the_split_names(house: House) -> None:
    alias(house, {"prod": SPLIT, OWN: SPLIT})
    for path in ("/invoke/hello", "/invoke/hello?alias=prod"):
        asyncio.run(house.call("POST", path, x_user="ann"))
        asyncio.run(house.call("POST", path))
    assert [one.sticky for one in house.invoker.asked] == ["ann", "", "ann", ""]
    too_long = asyncio.run(house.call("POST", "/invoke/hello", x_user="a" * 1025))
    assert too_long.status == 400


def test_an_application_keeps_its_query_and_is_found_by_the_header(house: House) -> None:
    alias(house, {"site": Split(revision="other-rev")}, Runtime.ASGI)
    asyncio.run(house.call("GET", "/invoke/hello/a?alias=mine", lambent_alias="site", x_user="ann"))
    [asked] = house.invoker.asked
    assert asked.alias == "site"
    assert asked.asked is not None
    assert asked.asked.query == "alias=mine"


def test_a_qualifier_of_awss_clients_is_an_alias_and_the_answer_tells_the_version(house: House) -> None:
    alias(house, {"prod": Split(revision="other-rev", sticky_header="x-user")})
    house.invoker.next = outcome(revision="other-rev")
    path = "/2015-03-31/functions/hello/invocations"
    answer = asyncio.run(house.call("POST", f"{path}?Qualifier=prod", b"{}", x_user="ann"))
    assert (answer.status, answer.headers["x-amz-executed-version"]) == (200, "4")
    assert (house.invoker.asked[0].alias, house.invoker.asked[0].sticky) == ("prod", "ann")
    named = asyncio.run(house.call("POST", "/2015-03-31/functions/hello:prod/invocations", b"{}"))
    assert (named.status, house.invoker.asked[1].alias) == (200, "prod")
    asyncio.run(house.call("POST", f"{path}?Qualifier=$LATEST", b"{}"))
    assert house.invoker.asked[2].alias == OWN
    assert asyncio.run(house.call("POST", f"{path}?Qualifier=live", b"{}")).status == 404
