"""What a probe does before it says hello: use whatever is known to hang in a fork, as a worker would.

A template that looks safe can still hold what its forks wait for without end: a library's pool of threads, a
lock that was held at the fork. Only a fork can tell. It is a process that nobody needs, so it may use more
threads than were granted.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, Final, Protocol, runtime_checkable

from lambent.runtimes.base import Served

# Enough elements for torch and for OpenBLAS to divide the work.
ELEMENTS: Final = 1 << 18
SIDE: Final = 256
THREADS: Final = 2


@runtime_checkable
class Rehearsable(Protocol):
    """A servable that can run something like an invocation without being given one."""

    def rehearse(self) -> None:
        """Run it. Raises whatever user code raises."""


def rehearse(servable: Served) -> None:
    """Return in a process that can serve; hang or die in one that cannot.

    What user code raises tells nothing of that, and is left to be told by the invocation that meets it.
    """
    _threads()
    if torch := sys.modules.get("torch"):
        _torch(torch)
    if numpy := sys.modules.get("numpy"):
        _numpy(numpy)
    if isinstance(servable, Rehearsable):
        try:
            servable.rehearse()
        except Exception:  # noqa: BLE001 - around user code, which may raise anything
            return


def _threads() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def _torch(torch: Any) -> None:
    torch.set_num_threads(THREADS)
    torch.ones(ELEMENTS).sum()
    square = torch.ones(SIDE, SIDE)
    square @ square


def _numpy(numpy: Any) -> None:
    square = numpy.ones((SIDE, SIDE))
    square @ square
