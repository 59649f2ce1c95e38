"""Standard output and error where user code may have closed them or put any object there."""

from __future__ import annotations

import sys


def flush() -> bool:
    """Write out what is buffered. Says whether that worked."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except Exception:  # noqa: BLE001 - user code may have put any object there
        return False
    return True


def say(text: str) -> None:
    """Write to standard error, the log. Where that fails nothing is told: the answer matters more."""
    try:
        sys.stderr.write(text)
    except Exception:  # noqa: BLE001 - user code may have closed it
        return
