"""Under which alias a request asks, and what its caller is known by there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lambent.core.errors import CallerFault
from lambent.core.routing import OWN
from lambent.pool.routes import Routes

ALIAS: Final = b"lambent-alias"
STICKY_CHARACTERS_MAX: Final = 1024

Headers = Mapping[bytes, bytes]


def alias_of(headers: Headers) -> str:
    """What `Lambent-Alias` says; the deployment's own name where it is not there."""
    header = headers.get(ALIAS)
    return OWN if header is None else header.decode("latin-1").strip()


def sticky_of(headers: Headers, routes: Routes, project: str, name: str, alias: str) -> str:
    """The value that the caller is known by, empty where nobody asks for one or it sent none.

    Raises `CallerFault` for one that is too long: it is kept with what is done later.
    """
    split = routes.split(project, name, alias)
    if split is None or not split.sticky_header:
        return ""
    value = headers.get(split.sticky_header.encode(), b"").decode("latin-1")
    if len(value) > STICKY_CHARACTERS_MAX:
        raise CallerFault(f"{split.sticky_header} has more than {STICKY_CHARACTERS_MAX} characters")
    return value
