"""The options of a trial, which `deploy` and `alias set` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from lambent.core.canary import P95_MS_MAX, P95_MS_MIN, PROMOTE_S_MAX, PROMOTE_S_MIN, RATE_MAX, RATE_MIN

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS: Final = (
    click.option(
        "--sticky-header", default="", metavar="NAME", help="Callers that send the same value get the same."
    ),
    click.option(
        "--max-error-rate",
        type=click.FloatRange(RATE_MIN, RATE_MAX),
        help="It goes back when a larger share of its calls fails, such as 0.05.",
    ),
    click.option(
        "--max-p95-ms",
        type=click.FloatRange(P95_MS_MIN, P95_MS_MAX),
        help="It goes back when more than 5 % of its calls take longer.",
    ),
    click.option(
        "--promote-after-s",
        type=click.FloatRange(PROMOTE_S_MIN, PROMOTE_S_MAX),
        help="It takes over by itself after it was well for so long.",
    ),
)


def bounds(command: F) -> F:
    """The four, which the verb gets by their names."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
