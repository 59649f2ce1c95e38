"""A deploy whose client leaves: before it is committed it ends at once, after that it is seen through."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lambent.core.spec import Temperature
from tests.support.engine_stages import eventually
from tests.unit.control.house import PROJECT, House, play


def answering(house: House) -> str:
    route = house.routes.get(PROJECT, "hello")
    return route.plan.revision if route else ""


def test_a_deploy_that_is_cancelled_while_it_loads_ends_the_load_and_frees_the_name(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.loads.load_waiting = asyncio.Event()  # which is never set: the load hangs
        deploying = asyncio.create_task(house.deployments.deploy(PROJECT, house.code(b"1")))
        await house.loads.loading.wait()
        deploying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deploying
        assert not answering(house)
        assert {facts.role for facts in house.engine.census()} <= {"environment", "worker"}
        house.loads.load_waiting = None
        for content in (b"1", b"2"):  # the very same, and another
            made = await house.deployments.deploy(PROJECT, house.code(content))
            assert answering(house) == made.revisions[0].id

    play(tmp_path, story)


def test_a_deploy_that_is_cancelled_while_it_is_committed_is_seen_through(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        with closing(sqlite3.connect(tmp_path / "lambent.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # nobody else writes until this ends
            deploying = asyncio.create_task(house.deployments.deploy(PROJECT, house.code(b"1")))
            await eventually(lambda: any(one.role == "template" for one in house.engine.census()))
            for _ in range(20):  # from loaded to the commit there is nothing to wait for
                await asyncio.sleep(0)
            deploying.cancel()
            await asyncio.sleep(0)
            assert not deploying.done()
            other.execute("ROLLBACK")
        with pytest.raises(asyncio.CancelledError):
            await deploying
        active = await house.deployments.active(PROJECT, "hello")
        assert answering(house) == active.id

    play(tmp_path, story)


def test_a_client_that_leaves_while_its_code_loads_ends_the_load(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.loads.load_waiting = asyncio.Event()
        answer = await house.call("POST", "/deployments", house.code(b"1"), until=house.loads.loading)
        assert answer.status == 400  # which nobody reads
        house.loads.load_waiting = None
        assert (await house.call("POST", "/deployments", house.code(b"1"))).status == 200

    play(tmp_path, story)


def test_a_client_that_leaves_a_rollback_while_it_loads_changes_nothing(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        for content in (b"1", b"2"):
            await house.deployments.deploy(PROJECT, house.code(content))
        before = answering(house)
        for revision in await house.deployments.revisions(PROJECT, "hello"):
            if revision.id != before:
                await house.engine.chill(revision.id, Temperature.COLD)
        house.loads.loading.clear()
        house.loads.load_waiting = asyncio.Event()
        answer = await house.call("POST", "/deployments/hello/rollback", {}, until=house.loads.loading)
        assert (answer.status, answering(house)) == (400, before)

    play(tmp_path, story)
