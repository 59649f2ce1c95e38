"""The end of a child that user code forked from a worker and did not end itself."""

from __future__ import annotations

import os
import signal
from typing import Final

from lambent.runtimes.faults import as_text, exit_code, function_error
from lambent.runtimes.outputs import flush, say

# For what it has printed. A lock of the outputs that another thread held at the fork is never released.
FLUSH_S: Final = 2


def leave_if_forked(pid: int, error: BaseException | None = None) -> None:
    """Where this is not the process `pid`, user code forked and the child came back: it ends here.

    One of two must not speak for the other. `error` is what user code raised in the child.
    """
    if os.getpid() == pid:
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(FLUSH_S)
    if error is not None:
        say(as_text(function_error(error)))
    flush()
    os._exit(0 if error is None else exit_code(error) if isinstance(error, SystemExit) else 1)
