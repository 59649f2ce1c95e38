"""A loop goes on where it was, with all of its parts as they were, in the objects that the code has."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lambent.training
from lambent.core.checkpointing import COMMIT_EVERY_S_MIN
from lambent.runtimes.checkpoints import Yielded
from lambent.runtimes.job import Run
from lambent.training import resumable
from lambent.wire.oneshot import JobCall
from tests.support.virtual_time import ManualClock


class Stateful:
    """As modules and optimisers of torch are."""

    def __init__(self) -> None:
        self.weights = np.zeros(3)

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights[:] = state["weights"]


class Variable:
    """As variables of Keras are."""

    def __init__(self, value: float) -> None:
        self.value = value

    def numpy(self) -> float:
        return self.value

    def assign(self, value: float) -> None:
        self.value = value


class Layered:
    """As models of Keras are."""

    def __init__(self, count: int = 2) -> None:
        self.variables = [Variable(0.0) for _ in range(count)]


class Position:
    """As an iterator over a dataset is."""

    def __init__(self) -> None:
        self.at = 0

    def state(self) -> int:
        return self.at

    def load(self, state: int) -> None:
        self.at = state


class Estimator:
    """As estimators of scikit-learn are: what they learnt are attributes."""

    def partial_fit(self, step: int) -> None:
        self.coefficients_ = np.full(2, step)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def begun(folder: Path, clock: ManualClock, **call: Any) -> Run:
    return Run(JobCall("run-1", **call), folder, notify=lambda _: None, clock=clock)


def test_steps_that_were_committed_are_not_done_again(tmp_path: Path, clock: ManualClock) -> None:
    steps = resumable(begun(tmp_path, clock), 10, every_steps=2)
    done = [next(steps) for _ in range(6)]  # the sixth is not done when its worker is killed
    done += resumable(begun(tmp_path, clock), 10, every_steps=2)
    assert done == [0, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9]


def test_what_there_is_one_step_for_each_of_comes_in_order(tmp_path: Path, clock: ManualClock) -> None:
    files = ["a", "b", "c"]
    first = resumable(begun(tmp_path, clock), files, every_steps=1)
    assert [next(first), next(first)] == ["a", "b"]
    assert list(resumable(begun(tmp_path, clock), files, every_steps=1)) == ["b", "c"]


def test_every_kind_of_part_comes_back_into_the_same_object(tmp_path: Path, clock: ManualClock) -> None:
    def parts() -> dict[str, Any]:
        return {
            "module": Stateful(),
            "layers": Layered(),
            "position": Position(),
            "estimator": Estimator(),
            "generator": np.random.default_rng(1),
            "old": np.random.RandomState(1),
            "plain": random.Random(1),
            "losses": [],
            "best": {},
        }

    def work(step: int, it: dict[str, Any]) -> None:
        it["module"].weights += it["generator"].random() + it["old"].random() + it["plain"].random()
        it["layers"].variables[1].value += step
        it["position"].at += 1
        it["estimator"].partial_fit(step)
        it["losses"].append(float(it["module"].weights[0]))
        it["best"]["step"] = step

    unbroken, killed, later = parts(), parts(), parts()
    for step in resumable(begun(tmp_path / "unbroken", clock), 8, **unbroken):
        work(step, unbroken)
    for step in resumable(begun(tmp_path / "killed", clock), 8, every_steps=1, **killed):
        work(step, killed)
        if step == 5:
            break
    module = later["module"]
    for step in resumable(begun(tmp_path / "killed", clock), 8, every_steps=1, **later):
        work(step, later)
    assert later["module"] is module
    assert later["losses"] == unbroken["losses"]
    assert later["best"] == unbroken["best"]
    assert later["position"].at == 8
    assert later["layers"].variables[1].value == unbroken["layers"].variables[1].value
    assert (later["estimator"].coefficients_ == unbroken["estimator"].coefficients_).all()


def test_without_an_interval_it_is_committed_as_often_as_is_cheap(tmp_path: Path, clock: ManualClock) -> None:
    run = begun(tmp_path, clock)
    steps = resumable(run, 100)
    for _ in range(50):
        next(steps)
        clock.advance(COMMIT_EVERY_S_MIN / 4)
    assert run.step == 48


def test_a_slice_that_is_over_ends_after_its_step(tmp_path: Path, clock: ManualClock) -> None:
    steps = resumable(begun(tmp_path, clock, slice_ms=10_000), 100, every_s=1000)
    next(steps)
    clock.advance(11)
    with pytest.raises(Yielded):
        next(steps)
    assert next(resumable(begun(tmp_path, clock), 100)) == 1


def test_the_last_step_may_be_where_a_slice_ends(tmp_path: Path, clock: ManualClock) -> None:
    steps = resumable(begun(tmp_path, clock, slice_ms=10_000), 1)
    next(steps)
    clock.advance(11)
    with pytest.raises(Yielded):
        next(steps)
    assert list(resumable(begun(tmp_path, clock), 1)) == []


@pytest.mark.parametrize("part", [5, "text", (1, 2), None])
def test_what_cannot_be_changed_in_place_is_refused_before_the_work(
    tmp_path: Path, clock: ManualClock, part: object
) -> None:
    with pytest.raises(TypeError, match="put it into a list or a dictionary"):
        next(resumable(begun(tmp_path, clock), 3, counter=part))


def test_a_model_that_is_not_built_is_refused_by_name(tmp_path: Path, clock: ManualClock) -> None:
    list(resumable(begun(tmp_path, clock), 1, every_steps=1, model=Layered(2)))
    with pytest.raises(ValueError, match="build it before the loop"):
        next(resumable(begun(tmp_path, clock), 2, model=Layered(0)))


def test_a_part_that_is_new_in_the_code_is_named(tmp_path: Path, clock: ManualClock) -> None:
    list(resumable(begun(tmp_path, clock), 1, every_steps=1, losses=[]))
    with pytest.raises(KeyError, match="no part 'best'"):
        next(resumable(begun(tmp_path, clock), 2, losses=[], best={}))


def test_a_state_that_was_committed_by_hand_is_told_from_a_loop_s(tmp_path: Path, clock: ManualClock) -> None:
    begun(tmp_path, clock).checkpoint({"weights": 1}, step=3)
    with pytest.raises(KeyError, match="none of a `resumable` loop"):
        next(resumable(begun(tmp_path, clock), 2))


def test_the_module_of_all_imports_no_framework() -> None:
    code = "import sys, lambent.training; lambent.training.resumable; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    frameworks = {"keras", "lightgbm", "numpy", "pytorch_lightning", "torch", "transformers", "xgboost"}
    assert frameworks.isdisjoint(loaded.stdout.split())


def test_a_name_that_there_is_not_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        lambent.training.Nothing  # noqa: B018 - that it is looked up is the test
    assert set(lambent.training.__all__) <= set(dir(lambent.training))
