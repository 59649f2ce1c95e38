"""What a layer may say that it fits: runtimes of AWS's, whether they run here or not, and architectures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, get_args

from lambent.wire.aws.faults import Fault, detected, violation
from lambent.wire.aws.shapes import Architecture, RuntimeName

ARCHITECTURES: Final[Sequence[str]] = get_args(Architecture)
RUNTIMES: Final = frozenset(get_args(RuntimeName))
# What AWS names where one is none of them, in its order (recorded): as layers are asked for by it, ...
LISTED: Final = (
    "ruby3.5", "ruby2.6", "dotnetcore1.0", "python3.7", "nodejs8.10", "nasa", "ruby2.7",
    "python2.7-greengrass", "dotnetcore2.0", "python3.8", "java21", "dotnet6", "dotnetcore2.1",
    "python3.9", "java11", "nodejs6.10", "provided", "dotnetcore3.1", "dotnet8", "java25", "java17",
    "nodejs", "nodejs4.3", "java8.al2", "go1.x",
    "dotnet10", "nodejs20.x", "go1.9", "byol", "nodejs10.x", "provided.al2023", "nodejs22.x", "python3.10",
    "java8", "nodejs12.x", "python3.11", "nodejs24.x", "nodejs8.x", "python3.12", "nodejs14.x", "nodejs8.9",
    "nodejs26.x", "python3.13", "python3.14", "nodejs16.x", "python3.15", "provided.al2", "nodejs4.3-edge",
    "nodejs18.x", "ruby3.2", "python3.4", "ruby3.3", "ruby3.4", "ruby2.5", "python3.6", "python2.7",
)  # fmt: skip
# ... and as they are published.
PUBLISHED: Final = (
    "nodejs20.x", "python3.14", "provided.al2023", "python3.12", "python3.13", "nodejs24.x", "nodejs22.x",
    "java25", "python3.10", "python3.11", "java21", "ruby3.3", "ruby3.4", "ruby3.2", "python3.8", "python3.9",
    "java17", "nodejs16.x", "dotnet10", "dotnet8", "java11", "dotnet6", "nodejs18.x", "provided.al2",
    "java8.al2",
)  # fmt: skip


def check_fits(runtimes: Sequence[str], architectures: Sequence[str]) -> None:
    """Raise `Fault` for what is no runtime of AWS's, or no architecture."""
    found = []
    if not RUNTIMES.issuperset(runtimes):
        said = f"Member must satisfy enum value set: [{', '.join(PUBLISHED)}]"
        found.append(violation("compatibleRuntimes", f"[{', '.join(runtimes)}]", said))
    if not set(ARCHITECTURES).issuperset(architectures):
        said = f"Member must satisfy enum value set: [{', '.join(ARCHITECTURES)}]"
        said = f"Member must satisfy constraint: [{said}, Member must not be null]"
        found.append(violation("compatibleArchitectures", f"[{', '.join(architectures)}]", said))
    if found:
        raise Fault("ValidationException", 400, detected(found), extra={})
