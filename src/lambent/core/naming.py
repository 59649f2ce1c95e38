"""How a deployment is named: after a Python name, and together with one of its aliases."""

from __future__ import annotations

import re
from typing import Final

PROJECT: Final = "default"  # the one that a server begins with
WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def kebab(name: str) -> str:
    """A Python name as a deployment's: `MyModel` and `my_model` become `my-model`."""
    return "-".join(WORDS.findall(name)).lower()


def name_and_alias(text: str) -> tuple[str, str]:
    """The parts of `name:alias`. No alias, or an empty one, is the deployment's own name."""
    name, _, alias = text.partition(":")
    return name, alias


def counted_as(project: str, name: str) -> str:
    """Under which name a deployment is counted beside those of all projects, each by a name of its own."""
    return name if project == PROJECT else f"{project}/{name}"
