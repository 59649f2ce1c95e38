"""Environments: which packages a template imports."""

import pytest

from lambent.core.environments import job_preloads, preloads


@pytest.mark.parametrize(
    ("packages", "imports"),
    [
        pytest.param([], (), id="plain code"),
        pytest.param(["onnxruntime", "numpy"], ("numpy", "onnxruntime"), id="sorted: order is no matter"),
        pytest.param(["PIL", "PIL"], ("PIL",), id="once"),
        pytest.param(["uvloop"], (), id="what is not known to be safe is not imported"),
        pytest.param(["numpyish", ""], (), id="a name that only begins like one"),
    ],
)
def test_imports_are_picked(packages: list[str], imports: tuple[str, ...]) -> None:
    assert preloads(packages) == imports


@pytest.mark.parametrize(
    ("packages", "imports"),
    [
        pytest.param(
            ["torch", "numpy"], ("numpy", "torch", "torch._dynamo"), id="what its optimisers import"
        ),
        pytest.param(["sklearn"], ("sklearn",), id="what imports no more later"),
    ],
)
def test_a_job_starts_with_what_training_imports(packages: list[str], imports: tuple[str, ...]) -> None:
    assert job_preloads(packages) == imports
