"""Scenes for the engines' own tests: processes on uvloop, real or scripted."""

from __future__ import annotations

from pathlib import Path

import pytest
import uvloop

from tests.support.engine_stages import LocalStage, local_stage, scripted_peer


@pytest.fixture
def real(tmp_path: Path) -> LocalStage:
    """The real process side."""
    return local_stage(tmp_path)


@pytest.fixture
def scripted(tmp_path: Path) -> LocalStage:
    """A process side that misbehaves when it is asked to."""
    return LocalStage(tmp_path, scripted_peer(tmp_path), uvloop.new_event_loop)
