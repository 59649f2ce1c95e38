"""Functions as AWS's paths and ARNs name them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from lambent.wire.aws.faults import Fault, bad_parameter, detected, gone, violation

LATEST: Final = "$LATEST"
# As AWS's service model spells them: a function in any form, and as one is made.
ANY_NAME: Final = re.compile(
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?"
    r"(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)
NEW_NAME: Final = re.compile(
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?"
    r"(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?"
)
REGION, ACCOUNT, NAME, OWN_QUALIFIER = 3, 9, 11, 13  # the groups of both
ANY_LENGTH_MAX: Final = 256
NEW_LENGTH_MAX: Final = 140
NAME_LENGTH_MAX: Final = 64
QUALIFIER: Final = re.compile(r"\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+")
QUALIFIER_LENGTH_MAX: Final = 128


class Place(msgspec.Struct, frozen=True):
    """Where AWS's clients are told that they are. Nothing depends on it but ARNs, and what they say of them.

    `is_theirs` where the client has signed for the region: it then reaches no function of another.
    """

    region: str = "us-east-1"
    account: str = "000000000000"
    is_theirs: bool = False

    def function_arn(self, name: str, qualifier: str = "") -> str:
        """The ARN of a function, or of one version of it."""
        arn = f"arn:aws:lambda:{self.region}:{self.account}:function:{name}"
        return f"{arn}:{qualifier}" if qualifier else arn


class FunctionName(msgspec.Struct, frozen=True):
    """A function as a path names it; `qualifier` is empty where it names none."""

    name: str
    qualifier: str = ""


def read_name(text: str, qualifier: str = "", *, place: Place | None = None) -> FunctionName:
    """A function from any form that AWS takes: name, partial ARN or ARN, each with or without `:qualifier`.

    `qualifier` is that of the query. Raises `Fault` for what is no name, where the two qualifiers differ, and
    for a function of a region other than that of `place`.
    """
    violations = _violations("functionName", text, ANY_NAME, ANY_LENGTH_MAX)
    if qualifier:
        violations += _violations("qualifier", qualifier, QUALIFIER, QUALIFIER_LENGTH_MAX)
    match = _matched(text, ANY_NAME, violations, place)
    own = match[OWN_QUALIFIER] or ""
    if own and qualifier and own != qualifier:
        text = "The derived qualifier from the function name does not match the specified qualifier."
        raise bad_parameter(text)
    return FunctionName(match[NAME], own or qualifier)


def read_new_name(text: str, place: Place) -> str:
    """The name of a function that is to be made. Raises `Fault`, also for one of another account."""
    match = _matched(text, NEW_NAME, _violations("functionName", text, NEW_NAME, NEW_LENGTH_MAX), place)
    if match[ACCOUNT] and match[ACCOUNT] != f"{place.account}:":
        raise Fault("AccessDeniedException", 403, "", extra={})
    if len(match[NAME]) > NAME_LENGTH_MAX:
        said = f"Member must have length less than or equal to {NAME_LENGTH_MAX}"
        raise bad_parameter(detected([violation("functionName", match[NAME], said)]))
    return match[NAME]


def _matched(
    text: str, pattern: re.Pattern[str], violations: Sequence[str], place: Place | None
) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None or violations:
        raise Fault("ValidationException", 400, detected(violations), extra={})
    region = (match[REGION] or "").removesuffix(":")
    if place is not None and place.is_theirs and region and region != place.region:
        raise gone(f"Functions from '{region}' are not reachable in this region ('{place.region}')")
    return match


def _violations(member: str, text: str, pattern: re.Pattern[str], length_max: int) -> list[str]:
    found = []
    if len(text) > length_max:
        said = f"Member must have length less than or equal to {length_max}"
        found.append(violation(member, text, said))
    if not pattern.fullmatch(text):
        said = f"Member must satisfy regular expression pattern: {pattern.pattern}"
        found.append(violation(member, text, said))
    return found
