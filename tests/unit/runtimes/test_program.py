"""A foreign program that cannot be watched is not left running."""

import asyncio
import errno
import os
from pathlib import Path

import psutil
import pytest

from lambent.runtimes.faults import Fault
from lambent.runtimes.program import Program


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def test_a_program_that_cannot_be_watched_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def story() -> None:
        before, children = descriptors(), psutil.Process().children()
        monkeypatch.setattr(os, "pidfd_open", none_left)
        with pytest.raises(Fault, match="cannot be run"):
            Program(["/bin/sleep", "60"], {})
        assert (descriptors(), psutil.Process().children()) == (before, children)

    asyncio.run(story())
