"""Environments: which packages a template imports, and when two environments are the same."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.environments import PRELOADS, Environment, digest, packages_digest, pick_imports

ENVIRONMENT = Environment(interpreter="/usr/bin/python3.11", imports=("numpy",), packages_digest="ab12")
INSTALLED = frozenset({"numpy", "PIL", "onnxruntime", "uvloop", "json"})


@pytest.mark.parametrize(
    ("modules", "imports"),
    [
        pytest.param([], (), id="plain code"),
        pytest.param(["json", "os.path", "base64"], (), id="the standard library is cheap"),
        pytest.param(
            ["onnxruntime", "numpy"], ("numpy", "onnxruntime"), id="sorted, so that order is no matter"
        ),
        pytest.param(["PIL.Image", "PIL"], ("PIL",), id="by top-level name, once"),
        pytest.param(["tensorflow"], (), id="what is not installed is not imported"),
        pytest.param(["uvloop"], (), id="what is not known to be safe is not imported"),
        pytest.param(["numpyish", ""], (), id="a name that only begins like one"),
    ],
)
def test_imports_are_picked(modules: list[str], imports: tuple[str, ...]) -> None:
    assert pick_imports(modules, installed=INSTALLED) == imports


def test_equal_environments_share_a_digest() -> None:
    again = Environment(interpreter="/usr/bin/python3.11", imports=("numpy",), packages_digest="ab12")
    assert digest(again) == digest(ENVIRONMENT)
    assert len(digest(ENVIRONMENT)) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"interpreter": "/usr/bin/python3.12"},
        {"imports": ()},
        {"imports": ("numpy", "scipy")},
        {"imports": ("num", "py")},
        {"packages_digest": "ab13"},
        {"packages_digest": "", "imports": ("ab12", "numpy")},
    ],
    ids=str,
)
def test_any_difference_is_another_environment(change: dict[str, str | tuple[str, ...]]) -> None:
    assert digest(msgspec.structs.replace(ENVIRONMENT, **change)) != digest(ENVIRONMENT)


def test_the_digest_of_packages_knows_spellings_and_not_their_order() -> None:
    one = packages_digest({"Foo_Bar": "1.0", "numpy": "2.3"})
    assert packages_digest({"numpy": "2.3", "foo-bar": "1.0"}) == one
    assert packages_digest({"numpy": "2.3", "foo.bar": "1.1"}) != one
    assert packages_digest({}) != one


@given(st.lists(st.sampled_from(sorted(PRELOADS | {"os", "mine"}))))
def test_the_order_and_number_of_imports_is_no_matter(modules: list[str]) -> None:
    picked = pick_imports(modules, installed=PRELOADS)
    assert picked == pick_imports([*reversed(modules), *modules], installed=PRELOADS)
    assert set(picked) == set(modules) & PRELOADS
