"""What the verbs share on their command lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from lambent.clock import SystemClock

if TYPE_CHECKING:
    from lambent.client.client import Client

F = TypeVar("F", bound=Callable[..., Any])
MS_PER: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def json_option(command: F) -> F:
    """`--json`, which the verb gets as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def connect() -> Client:
    """A client of the server that the environment names. Its library is loaded now, not for `--help`."""
    from lambent.client.client import Client

    return Client()


def pairs(_: click.Context, parameter: click.Parameter, texts: Iterable[str]) -> dict[str, str]:
    """Values like `key=value` as a dict. Raises `BadParameter` for one without a key or a `=`."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"{text!r} is not of the form KEY=VALUE", param=parameter)
        found[key] = value
    return found


def moment(_: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """Unix milliseconds of `24h` or `7d` (that long ago), or of a date or time in ISO form (else local)."""
    if text is None:
        return None
    number, unit = text[:-1], text[-1:]
    if number.isdecimal() and unit in MS_PER:
        return SystemClock().unix_ms() - int(number) * MS_PER[unit]
    from datetime import datetime

    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{text!r} is neither a time such as 2026-11-30 nor an age such as 24h", param=parameter
        ) from error
