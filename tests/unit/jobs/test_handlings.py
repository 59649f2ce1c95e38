"""Asynchronous invocations under an alias or a version that has terms of its own."""

from __future__ import annotations

import pytest

from lambent.core.deferral import Handling, Terms
from lambent.core.invocation import Called, Invocation, new_id, qualifier_of
from lambent.pool.handlings import LATEST, Handlings
from lambent.storage.sql import SqlStore
from lambent.storage.tickets import TicketState
from tests.support.virtual_time import run
from tests.unit.jobs.durable import BROKEN, PROJECT, House, answers, working

ARN = "arn:aws:lambda:eu-central-1:000000000000:function:f"
NEVER = Handling(retries=0, async_age_max_s=60.0, on_failure="worried")


@pytest.mark.parametrize(("qualifier", "tries"), [
    pytest.param("live", 1, id="an alias with terms has those"),
    pytest.param("7", 3, id="a version without has the usual ones, not the deployment's"),
    pytest.param(LATEST, 6, id="the deployment has its specification's"),
    pytest.param("", 6, id="so has who names no version"),
])  # fmt: skip
def test_terms_are_those_of_the_name_by_which_it_was_called(
    store: SqlStore, qualifier: str, tries: int
) -> None:
    async def story() -> None:
        async with working(store, answers(BROKEN)) as house:
            house.deploy(retries=5, retry_first_s=0.1)
            house.deploy("worried")
            house.handlings.put(PROJECT, "f", {"live": NEVER, LATEST: NEVER})
            await ended_after(house, qualifier, tries)

    run(story())


async def ended_after(house: House, qualifier: str, tries: int) -> None:
    called = Called(f"{ARN}:{qualifier}" if qualifier else ARN, "")
    asked = Invocation(id=new_id(), project=PROJECT, deployment="f", body=b"{}", called=called)
    ticket = await house.queue.accept(asked, Terms(), keyed=False)
    [ended] = await house.ended(ticket)
    assert (ended.state, ended.attempts) == (TicketState.DEAD, tries)


def test_where_nothing_was_said_of_the_deployment_its_aliases_have_its_specification() -> None:
    handlings = Handlings(NEVER)
    handlings.put("p", "f", {"live": NEVER})
    assert handlings.find("p", "f", "live") is NEVER
    assert handlings.find("p", "f", "other") is None
    assert handlings.find("p", "g", "live") is None
    handlings.keep("p", "f", lambda qualifier: qualifier != "live")
    assert handlings.find("p", "f", "live") is None


@pytest.mark.parametrize(
    ("arn", "qualifier"), [(ARN, ""), (f"{ARN}:live", "live"), (f"{ARN}:$LATEST", LATEST)]
)
def test_a_qualifier_is_what_follows_the_functions_name(arn: str, qualifier: str) -> None:
    assert qualifier_of(Called(arn, "")) == qualifier
    assert qualifier_of(None) == ""
