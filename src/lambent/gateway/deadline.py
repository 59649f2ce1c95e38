"""How long a caller waits, as it says in a header: for a slot and for the answer together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from lambent.core.errors import CallerFault

HEADER: Final = b"lambent-timeout-ms"
TIMEOUT_MS_MAX: Final = 86_400_000.0


def deadline_of(headers: Mapping[bytes, bytes], now_s: float) -> float | None:
    """When (monotonic) the caller's time is over, or `None` where it names none. Raises `CallerFault`."""
    said = headers.get(HEADER)
    if said is None:
        return None
    try:
        timeout_ms = float(said)
    except ValueError:
        timeout_ms = math.nan
    if not 0 < timeout_ms <= TIMEOUT_MS_MAX:
        text = said.decode("latin-1")[:40]
        raise CallerFault(
            f"Lambent-Timeout-Ms: {text!r} is not a number of milliseconds up to {TIMEOUT_MS_MAX:.0f}"
        )
    return now_s + timeout_ms / 1e3


def check_none(headers: Mapping[bytes, bytes]) -> None:
    """Raise `CallerFault` for a deadline of what nobody waits for."""
    if HEADER in headers:
        raise CallerFault(
            "Lambent-Timeout-Ms is for invocations that are waited for; one that is done later has "
            "the deployment's timeout_s for each try and async_age_max_s for all of them"
        )
