"""How many threads frameworks may use: one in a template, and what was granted once a process works alone.

A template must have one thread to be forked. libgomp, torch's pool, keeps the threads of a parallel region
for good; they are not in a fork, whose own regions wait for them for ever (seen with torch 2.13). So nothing
raises the count before the fork, and a template that did is seen to have threads and is not forked.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Container
from typing import Final

# Read by a library when it is loaded: of use to those that this process has not imported yet.
VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


def use(threads: int, *, unless_in: Container[str] = ()) -> None:
    """Let frameworks use `threads` threads. Those that are loaded already are told so, where they can be.

    Variables that are in `unless_in` keep what they say.
    """
    os.environ.update({name: str(threads) for name in VARIABLES if name not in unless_in})
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
