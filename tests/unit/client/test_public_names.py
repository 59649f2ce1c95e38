"""`import lambent` is paid by every cold start: it loads nothing that is not asked for."""

import subprocess
import sys

import pytest

import lambent
from tests.support.patience import PATIENT_S

LOOK = "import sys; before = set(sys.modules); import lambent; print(*sorted(set(sys.modules) - before))"


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=PATIENT_S
    )
    return set(done.stdout.split())


def test_the_import_loads_no_other_module_of_ours() -> None:
    assert {name for name in loaded_by(LOOK) if name.startswith("lambent")} == {"lambent"}


def test_an_app_loads_no_client() -> None:
    loaded = loaded_by(LOOK.replace("import lambent;", "import lambent; lambent.App('a').function;"))
    assert "lambent.client.app" in loaded
    assert loaded.isdisjoint({"asyncio", "urllib3", "click", "lambent.client.client", "lambent.wire.api"})


@pytest.mark.parametrize("name", lambent.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(lambent, name)
    assert name in dir(lambent)


def test_a_name_that_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError, match="module 'lambent' has no attribute 'Ap'"):
        _ = lambent.Ap  # type: ignore[attr-defined]  # not there, which is the point
