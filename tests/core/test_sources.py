"""How a queue's messages become batches."""

from __future__ import annotations

import msgspec
import pytest

from lambent.core.sources import PAUSE_S_MAX, Source, batches_max, hidden_s, pause_s, shown_after_s
from lambent.core.spec import DeploymentSpec, Kind

SOURCE = Source(id="s", project="p", queue="q", deployment="f")
SPEC = DeploymentSpec(name="f", kind=Kind.FUNCTION, workers_max=4, timeout_s=10, hold_s=5)


@pytest.mark.parametrize(
    ("running_max", "async_running_max", "batches"),
    [
        pytest.param(0, 0, 3, id="all workers but one"),
        pytest.param(2, 0, 2, id="no more than the source may"),
        pytest.param(1000, 0, 3, id="no more than the deployment may"),
        pytest.param(1000, 9, 9, id="as its owner says"),
    ],
)
def test_how_many_batches_run_at_once(running_max: int, async_running_max: int, batches: int) -> None:
    spec = msgspec.structs.replace(SPEC, async_running_max=async_running_max)
    assert batches_max(msgspec.structs.replace(SOURCE, running_max=running_max), spec) == batches


def test_a_message_is_hidden_as_long_as_its_batch_may_take() -> None:
    assert hidden_s(SOURCE, SPEC, 1) == 10 + 5 + 30
    assert hidden_s(msgspec.structs.replace(SOURCE, window_s=7), SPEC, 1) == 52
    assert hidden_s(SOURCE, SPEC, 1000) == 1000


def test_what_failed_is_seen_again_when_the_queues_own_timeout_is_over() -> None:
    assert shown_after_s(30, held_s=10) == 20
    assert shown_after_s(30, held_s=40) == 0


def test_pauses_grow_to_a_bound() -> None:
    assert [pause_s(number) for number in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert pause_s(10_000) == PAUSE_S_MAX
