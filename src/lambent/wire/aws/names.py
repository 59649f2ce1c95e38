"""Functions as AWS's paths and ARNs name them."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from lambent.wire.aws.faults import Fault, invalid

LATEST: Final = "$LATEST"
FUNCTION_NAME: Final = re.compile(
    r"(?:arn:aws[a-zA-Z-]*:lambda:)?(?:[a-z]{2}(?:-[a-z]+)+-\d:)?(?:\d{12}:)?(?:function:)?"
    r"([a-zA-Z0-9_-]{1,140})(?::(\$LATEST|[a-zA-Z0-9_-]{1,128}))?"
)
QUALIFIER: Final = re.compile(r"\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+")
QUALIFIER_LENGTH_MAX: Final = 128
# What AWS says of a name that is none, in its own spelling of the pattern.
NAME_PATTERN: Final = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?"
    r"(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)


class Place(msgspec.Struct, frozen=True):
    """Where AWS's clients are told that they are. Nothing depends on it but the text of ARNs."""

    region: str = "us-east-1"
    account: str = "000000000000"

    def function_arn(self, name: str, qualifier: str = "") -> str:
        """The ARN of a function, or of one version of it."""
        arn = f"arn:aws:lambda:{self.region}:{self.account}:function:{name}"
        return f"{arn}:{qualifier}" if qualifier else arn


class FunctionName(msgspec.Struct, frozen=True):
    """A function as a path names it; `qualifier` is empty where it names none."""

    name: str
    qualifier: str = ""


def read_name(text: str, qualifier: str) -> FunctionName:
    """A function from any form that AWS takes: name, partial ARN or ARN, each with or without `:qualifier`.

    `qualifier` is that of the query. Raises `Fault` for what is no name, or where the two qualifiers differ.
    """
    match = FUNCTION_NAME.fullmatch(text)
    if match is None:
        raise invalid("functionName", text, f"Member must satisfy regular expression pattern: {NAME_PATTERN}")
    if qualifier:
        _check_qualifier(qualifier)
    own = match[2] or ""
    if own and qualifier and own != qualifier:
        raise Fault(
            "InvalidParameterValueException",
            400,
            "The derived qualifier from the function name does not match the specified qualifier.",
        )
    return FunctionName(match[1], own or qualifier)


def _check_qualifier(qualifier: str) -> None:
    if len(qualifier) > QUALIFIER_LENGTH_MAX:
        said = f"Member must have length less than or equal to {QUALIFIER_LENGTH_MAX}"
        raise invalid("qualifier", qualifier, said)
    if not QUALIFIER.fullmatch(qualifier):
        said = f"Member must satisfy regular expression pattern: {QUALIFIER.pattern}"
        raise invalid("qualifier", qualifier, said)
