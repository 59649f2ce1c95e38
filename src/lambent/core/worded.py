"""Settings that are text, as a user has worded them, and values as an error shows them."""

from __future__ import annotations

import re
from typing import Final

from lambent.core.errors import InvalidSpec

ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PATH: Final = re.compile(r"/[!-~]*")
SHOWN_CHARACTERS_MAX: Final = 60


def shown(value: object) -> str:
    """A value in an error, cut where it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[: SHOWN_CHARACTERS_MAX - 1]}…"


def webhook(value: object) -> str:
    """A URL, or nothing. Raises `InvalidSpec`."""
    from lambent.core.urls import checked_url  # what it imports costs every worker's start 5 ms otherwise

    return "" if value == "" else checked_url(str(value))


def env_name(key: str) -> str:
    """The variable of `env.NAME`. Raises `InvalidSpec`."""
    name = key.removeprefix("env.")
    if not ENV_NAME.fullmatch(name):
        raise InvalidSpec(f"{shown(name)} is not the name of a variable: use letters, digits and '_'")
    return name


def plain(key: str, value: object) -> str:
    """Text that a process can be given. Raises `InvalidSpec`."""
    text = str(value)
    if "\0" in text:
        raise InvalidSpec(f"{key} holds a zero byte, which no process can be given")
    return text


def path(key: str, value: object) -> str:
    """A path of a URL, or nothing. Raises `InvalidSpec`."""
    if value != "" and not PATH.fullmatch(str(value)):
        raise InvalidSpec(f"{key}={shown(value)} is no path: write one such as /health")
    return str(value)
