"""What holds for every test: no settings of the developer's own shell, and repeatable examples."""

import gc
import os

import pytest
from hypothesis import settings

# No deadline: on a busy machine it fails tests for being slow once. In CI the examples are always the
# same, so that a change is judged by what it changed; elsewhere each run explores further.
settings.register_profile("local", deadline=None, print_blob=True)
settings.register_profile("ci", parent=settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_collection_finish() -> None:
    """Take what is there for the whole run, thousands of tests, out of each look of the garbage collector."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_settings_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide `LAMBENT_*`: no test may reach a server or a key that belongs to whoever runs it."""
    for name in [name for name in os.environ if name.startswith("LAMBENT_")]:
        monkeypatch.delenv(name)
