"""Scenes for the engines' own tests: processes on uvloop, real or scripted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.support.engine_stages import STORY_MAX_S, LocalStage, Play, local_stage, scripted_peer


@pytest.fixture
def real(tmp_path: Path) -> LocalStage:
    """The real process side."""
    return local_stage(tmp_path)


@pytest.fixture
def scripted(tmp_path: Path) -> LocalStage:
    """A process side that misbehaves when it is asked to."""
    return LocalStage(tmp_path, scripted_peer(tmp_path), uvloop.new_event_loop)


@pytest.fixture
def play() -> Play:
    """Run a coroutine on the server's kind of loop, for a bounded time."""

    def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(asyncio.wait_for(story(), STORY_MAX_S))

    return run
