"""From a Python name to a deployment's name."""

from __future__ import annotations

import re
from typing import Final

WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def kebab(name: str) -> str:
    """A Python name as a deployment's: `MyModel` and `my_model` become `my-model`."""
    return "-".join(WORDS.findall(name)).lower()
