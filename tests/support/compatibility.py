"""Which operations of AWS's APIs were answered well in this run, for the table in the documents."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

# A file to which each operation is added that an AWS client was answered well.
RECORD: Final = "LAMBENT_COMPATIBILITY_RECORD"


def note(service: str, operation: str) -> None:
    """Remember it, where somebody wants to know."""
    if path := os.environ.get(RECORD):
        with Path(path).open("a") as file:
            file.write(f"{service} {operation}\n")
