"""How the failure or the end of a process is told to people."""

from __future__ import annotations

import signal
from typing import Final

from lambent.core.errors import LoadFailed
from lambent.core.invocation import FunctionError
from lambent.engines.base import Exit

PRINTED_LINES_MAX: Final = 40
EXITED: Final = "Runtime.ExitError"
LATE: Final = "Sandbox.Timedout"


class KilledLoading(LoadFailed):
    """A process was killed before it was ready, which no code does to itself: once more may help."""


def describe(how: Exit) -> str:
    """`exit code 3`, `SIGKILL` or `an unknown cause`, to follow "ended with"."""
    if how.code is None:
        return "an unknown cause"
    if how.code >= 0:
        return f"exit code {how.code}"
    try:
        return signal.Signals(-how.code).name
    except ValueError:
        return f"signal {-how.code}"


def load_failed(error: FunctionError) -> LoadFailed:
    """What a process reported of its load, as the error that the engine raises."""
    return LoadFailed(error.error_message, kind=error.error_type, trace=error.stack_trace)


def died_loading(what: str, how: Exit, printed: bytes) -> LoadFailed:
    """The failure of a process that ended before it was ready; the trace is the last that it printed."""
    killed = how.code == -signal.SIGKILL
    hint = "; somebody killed it, or the machine had no memory left" if killed else ""
    return (KilledLoading if killed else LoadFailed)(
        f"{what} ended with {describe(how)} before it was ready{hint}",
        kind=EXITED,
        trace=last_lines(printed),
    )


def hung_loading(what: str, timeout_s: float, printed: bytes) -> LoadFailed:
    """The failure of a process that was ended because it did not become ready."""
    return LoadFailed(f"{what} was not ready after {timeout_s:g} s", kind=LATE, trace=last_lines(printed))


def ended(how: Exit, printed: bytes) -> str:
    """How a process ended in the middle of its work, with the last line that it printed."""
    said = last_lines(printed.strip())
    return f"ended with {describe(how)}" + (f"; it last said: {said[-1]}" if said else "")


def last_lines(printed: bytes) -> tuple[str, ...]:
    """The end of what a process printed, as text."""
    return tuple(printed.decode(errors="replace").splitlines()[-PRINTED_LINES_MAX:])
