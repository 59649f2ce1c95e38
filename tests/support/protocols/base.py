"""A protocol as a table of what it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One table of the page.

    `operations` are all that the protocol has, each with a remark, which may be empty: how it differs where a
    client was answered well, or why it is not here. A test says that one was, by `compatibility.note(key,
    operation)`; what no test has said is not here. `clients` says whose clients those are.
    """

    key: str  # one word, for the record
    title: str
    clients: str
    operations: Mapping[str, str]
