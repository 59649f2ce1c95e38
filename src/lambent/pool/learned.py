"""What the thermostat has learned, as bytes: one line of JSON that says what follows, then one a deployment.

Line by line, so that nobody waits for the encoding of a thousand histograms at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec

from lambent.core.histogram import Grid
from lambent.core.memories import Amount, Count, CrowdMemory
from lambent.core.policies.prospects import RESOLUTION_S
from lambent.pool.arrivals import ArrivalsMemory, DeploymentMemory
from lambent.pool.costs import CostsMemory
from lambent.pool.sizes import SizesMemory
from lambent.wire.typed import from_json

# The number is raised with each change of meaning; bins of another grid mean something else, too.
FORMAT: Final = f"1 {RESOLUTION_S:g} {Grid.FINE:g} {Grid.COARSE:g}"


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, at one moment."""

    arrivals: ArrivalsMemory
    sizes: SizesMemory
    costs: CostsMemory


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    format: str
    saved_unix_ms: Annotated[int, msgspec.Meta(ge=-(2**60), le=2**60)]
    deployments: Count
    crowd: CrowdMemory
    clock: Amount
    sizes: SizesMemory
    costs: CostsMemory


def encoded(learned: Learned, *, saved_unix_ms: int) -> bytes:
    """The lines."""
    encoder = msgspec.json.Encoder()
    arrivals = learned.arrivals
    head = _Head(
        format=FORMAT,
        saved_unix_ms=saved_unix_ms,
        deployments=len(arrivals.deployments),
        crowd=arrivals.crowd,
        clock=arrivals.clock,
        sizes=learned.sizes,
        costs=learned.costs,
    )
    return b"".join(encoder.encode(line) + b"\n" for line in (head, *arrivals.deployments))


def decoded(content: bytes) -> tuple[Learned, int]:
    """What was learned, and when it was stored (Unix milliseconds). Raises `ValueError` for anything else."""
    lines: Iterator[bytes] = iter(content.splitlines())
    first = next(lines, b"")
    found = from_json(first, _Format).format
    if found != FORMAT:
        raise ValueError(f"its format is {found!r}, not {FORMAT!r}")
    head = from_json(first, _Head)
    deployments = tuple(from_json(line, DeploymentMemory) for line in lines)
    if len(deployments) != head.deployments:
        raise ValueError(f"it has {len(deployments)} of {head.deployments} deployments")
    arrivals = ArrivalsMemory(deployments=deployments, crowd=head.crowd, clock=head.clock)
    return Learned(arrivals=arrivals, sizes=head.sizes, costs=head.costs), head.saved_unix_ms


class _Format(msgspec.Struct, frozen=True):
    format: str
