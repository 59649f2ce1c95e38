"""Environments: which packages a template imports."""

import pytest

from lambent.core.environments import preloads


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
