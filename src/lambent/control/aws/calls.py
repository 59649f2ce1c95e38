"""What each operation finds out first: who asks, of which function."""

from __future__ import annotations

from lambent.core.invocation import Role
from lambent.wire.aws.control import Call
from lambent.wire.aws.names import FunctionName, read_name
from lambent.wire.aws.reading import Query


def named(call: Call, role: Role) -> FunctionName:
    """The function that the path names, with the query's qualifier. Raises `Forbidden`, `Fault`."""
    call.principal.require(role)
    return read_name(call.labels[0], Query(call.query).text("Qualifier"), place=call.place)
