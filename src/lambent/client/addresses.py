"""Where on the server things are."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from lambent.core.errors import CallerFault


def in_alias(alias: str) -> Mapping[str, str]:
    """The headers that ask for an alias, where there is one."""
    return {"lambent-alias": alias} if alias else {}


def path_of(name: str) -> str:
    """The path of a deployment."""
    return f"/api/v1/deployments/{segment(name)}"


def segment(name: str) -> str:
    """A name as a part of a path. Raises `CallerFault` for one that cannot be."""
    # Dots alone would be resolved on the way, and the request would go to another resource.
    if not name.strip("."):
        raise CallerFault(f"{name!r} names nothing")
    return quote(name, safe="")


def with_query(path: str, /, **parameters: object) -> str:
    """A path with those of the parameters that are given."""
    told = {name: value for name, value in parameters.items() if value not in (None, "")}
    return f"{path}?{urlencode(told)}" if told else path
