"""What goes on, said on stderr while it goes on."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """One line."""
    print(f"==> {text}", file=sys.stderr, flush=True)
