"""A template's parameters: what is given, or else their defaults.

Source: AWS CloudFormation User Guide, "Parameters section syntax".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lambent.client.errors import BundleError
from lambent.client.sam.intrinsics import as_text

ELSEWHERE: Final = "AWS::SSM::Parameter::Value<"  # whose default is a name there, and no value
LISTS: Final = ("CommaDelimitedList", "List<")


def values_of(declared: Mapping[str, Any], given: Mapping[str, str], file: Path) -> dict[str, Any]:
    """The values that are known. Raises `BundleError` for what is not declared, or not allowed."""
    if unknown := sorted(given.keys() - declared.keys()):
        raise BundleError(f"{file} has no parameter {unknown[0]}")
    values: dict[str, Any] = {}
    for name, about in declared.items():
        told = about if isinstance(about, dict) else {}
        kind = str(told.get("Type", "String"))
        default = None if kind.startswith(ELSEWHERE) else told.get("Default")
        if name not in given and default is None:
            continue
        value = given.get(name, as_text(default))
        listed = [one.strip() for one in value.split(",")] if kind.startswith(LISTS) else [value]
        _check(file, name, told, listed)
        values[name] = listed if kind.startswith(LISTS) else value
    return values


def _check(file: Path, name: str, told: Mapping[str, Any], values: list[str]) -> None:
    allowed = told.get("AllowedValues")
    if isinstance(allowed, list):
        texts = [as_text(one) for one in allowed]
        for value in values:
            if value not in texts:
                raise BundleError(
                    f"{file}: the parameter {name} is {value!r}, and not one of {', '.join(texts)}"
                )
