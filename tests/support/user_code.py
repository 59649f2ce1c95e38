"""Fixtures that serve user code in real processes: one environment template for many tests.

A conftest takes them by import: `from tests.support.user_code import environment, serve`.
"""

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lambent.wire.process import RevisionPlan
from tests.support.templates import Environment, Worker, plan_for

Serve = Callable[..., Worker]
PlanOf = Callable[..., RevisionPlan]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """An environment template that has imported numpy and ONNX Runtime."""
    folder = tmp_path_factory.mktemp("environment")
    with Environment(folder, imports=["numpy", "onnxruntime", "not_installed_anywhere"]) as started:
        yield started


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    """Makes the plan of a bundle whose `app.py` holds the given code."""

    def plan_of(code: str, entrypoint: str = "app:handler", **changes: Any) -> RevisionPlan:
        folder = tmp_path / "code"
        folder.mkdir(exist_ok=True)
        (folder / "app.py").write_text(textwrap.dedent(code))
        return plan_for(folder, entrypoint, **changes)

    return plan_of


@pytest.fixture
def serve(environment: Environment, plan_of: PlanOf) -> Iterator[Serve]:
    """Makes a worker that serves the given code; it ends with the test."""
    started: list[Worker] = []

    def serve(code: str, entrypoint: str = "app:handler", **changes: Any) -> Worker:
        started.append(environment.fork_worker(plan_of(code, entrypoint, **changes)))
        return started[-1]

    yield serve
    for worker in started:
        worker.close()
