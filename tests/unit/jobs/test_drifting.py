"""A model whose answers have drifted is trained anew, once, and whatever else it says does not count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from lambent.core.drift import WINDOW
from lambent.core.invocation import Invocation, Outcome, Status
from lambent.core.spec import Kind, new_spec
from lambent.jobs.drifting import Drifting
from lambent.pool.routes import Route
from lambent.storage.base import Run
from lambent.wire.oneshot import JobResult
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.patience import PATIENT_S
from tests.unit.jobs.durable import outcome
from tests.unit.jobs.running import PROJECT, House, job

CAT, DOG = b'{"label": "cat"}', b'{"label": "dog"}'
ASKED = Invocation(id="i", project=PROJECT, deployment="digits", body=b"")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.deploy("fit", job(lambda call, scene: JobResult()))
    yield made
    made.store.close()


def serve(house: House, *, drift_max: float = 0.25, train: str = "fit") -> None:
    spec = msgspec.structs.replace(new_spec("digits", Kind.MODEL, train=train), drift_max=drift_max)
    plan = RevisionPlan(revision="r", deployment="digits", project=PROJECT, number=1, runtime=Runtime.MODEL)
    house.routes.put(Route(project=PROJECT, name="digits", spec=spec, plan=plan))


@asynccontextmanager
async def watched(house: House) -> AsyncIterator[Drifting]:
    """Until all that it began is done."""
    async with house.opened() as runner, asyncio.timeout(PATIENT_S), asyncio.TaskGroup() as tasks:
        yield Drifting(house.routes, runner, tasks)


def told(house: House, *answers: Outcome) -> list[Run]:
    """The runs that came of these answers, each heard a window long."""

    async def story() -> None:
        async with watched(house) as drifting:
            for answer in answers:
                for _ in range(WINDOW):
                    drifting.answered(ASKED, answer)

    asyncio.run(story())
    return list(house.store.runs.all(PROJECT))


def test_after_two_windows_of_other_answers_its_job_is_started_for_it(house: House) -> None:
    serve(house)
    cat, dog = outcome(body=CAT), outcome(body=DOG)
    assert told(house, cat, cat, dog) == []
    (run,) = told(house, cat, dog, dog)
    assert (run.job, run.for_deployment) == ("fit", "digits")


@pytest.mark.parametrize(
    "other",
    [
        outcome(Status.FAILED, DOG),
        msgspec.structs.replace(outcome(body=DOG), revision="canary"),
        msgspec.structs.replace(outcome(body=DOG), content_type="image/png"),
        outcome(body=b"no JSON"),
        outcome(body=b'"%s"' % (b"x" * 100_000)),
    ],
    ids=["failed", "canary", "image", "broken", "long"],
)
def test_what_is_no_answer_of_the_model_that_serves_is_not_counted(house: House, other: Outcome) -> None:
    serve(house)
    assert told(house, outcome(body=CAT), *[other] * 3) == []


@pytest.mark.parametrize(("drift_max", "train"), [(0.0, "fit"), (0.25, ""), (50.0, "fit")])
def test_nobody_asked_or_it_is_not_as_much(house: House, drift_max: float, train: str) -> None:
    serve(house, drift_max=drift_max, train=train)
    assert told(house, outcome(body=CAT), *[outcome(body=DOG)] * 3) == []


def test_a_job_that_is_gone_is_a_line_in_the_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    serve(house, train="gone")
    assert told(house, outcome(body=CAT), *[outcome(body=DOG)] * 2) == []
    assert "model_drifted_and_cannot_be_trained" in caplog.text
