"""Whether what an asynchronous invocation's end is told to can be."""

from __future__ import annotations

from typing import Final

from lambent.control.aws.found import Finder
from lambent.wire.aws.control import Call
from lambent.wire.aws.faults import Fault, bad_parameter
from lambent.wire.aws.names import FunctionName, read_name
from lambent.wire.aws.shapes import Destination, DestinationConfig

# What AWS takes. Functions and queues of this server are told, the others are kept and hear nothing.
SERVICES: Final = frozenset({"lambda", "sqs", "sns", "events", "s3"})


async def check_destinations(
    finder: Finder, call: Call, name: FunctionName, config: DestinationConfig
) -> None:
    """Raise `Fault` where a function's destination is no destination, is not there or is itself."""
    for destination in (config.on_success, config.on_failure):
        arn = destination.destination if destination is not None else None
        if not arn:
            continue
        service = arn.split(":")[2] if arn.startswith("arn:") else ""
        if service not in SERVICES:
            raise bad_parameter(f"The provided destination config {_shown(config)} is invalid.")
        if service == "lambda":
            await _check_function(finder, call, name, arn)


async def _check_function(finder: Finder, call: Call, name: FunctionName, arn: str) -> None:
    wanted = read_name(arn)
    if wanted.name == name.name:
        raise bad_parameter("You can't specify the function as a destination for itself.")
    try:
        await finder.version(call.principal.project, call.place, wanted)
    except Fault as error:
        raise bad_parameter(f"The destination ARN {arn} is invalid.") from error


def _shown(config: DestinationConfig) -> str:
    success, failure = _one("OnSuccess", config.on_success), _one("OnFailure", config.on_failure)
    return f"DestinationConfig(onSuccess={success}, onFailure={failure})"


def _one(kind: str, destination: Destination | None) -> str:
    if destination is None:
        return "null"
    return f"{kind}(destination={destination.destination or 'null'})"
