"""What other protocols than AWS's have, for `docs/compatibility.md`: a file and a table for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.support.protocols import events, filing, open_inference, programs, talking
from tests.support.protocols.base import Protocol

# In the order of the page.
PROTOCOLS: Final[Mapping[str, Protocol]] = {
    one.key: one
    for one in (
        open_inference.REST,
        open_inference.GRPC,
        talking.OPENAI,
        talking.ANTHROPIC,
        filing.REPLICATE,
        filing.RUNPOD,
        events.PREDICT,
        events.CLOUDEVENTS,
        events.MCP,
        programs.PROGRAMS,
    )
}
