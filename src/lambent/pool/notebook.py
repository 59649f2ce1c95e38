"""Keeps what the thermostat has learned in a file, so that a restart does not make it forget.

The file holds idle times and one wall time, that of its writing. Only where a server starts are the two put
together: what has passed since then by the wall clock is added to each idle time. A clock that was set back
meanwhile makes that nothing, one that was set forward no more than `UNWATCHED_S_MAX`; a jump while the
server runs is not even noticed.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from lambent.clock import Clock
from lambent.core.errors import LambentError
from lambent.core.histogram import GAP_S_MAX
from lambent.pool.learned import Learned, decoded, encoded
from lambent.pool.thermostat import Thermostat
from lambent.storage.statedir import write_private

SAVE_S: Final = 60.0
FILE_BYTES_MAX: Final = 64 << 20
UNWATCHED_S_MAX: Final = GAP_S_MAX

log = logging.getLogger(__name__)


class Notebook:
    """The file at `path`. It is a convenience: whatever is wrong with it is logged and changes nothing."""

    def __init__(self, path: Path, thermostat: Thermostat, clock: Clock) -> None:
        self._path: Final = path
        self._thermostat: Final = thermostat
        self._clock: Final = clock
        self._broken = False

    def load(self) -> None:
        """Tell the thermostat what it knew, before it runs. Blocks."""
        try:
            size_bytes = self._path.stat().st_size
            if size_bytes > FILE_BYTES_MAX:
                raise ValueError(f"it has {size_bytes} bytes, more than {FILE_BYTES_MAX}")
            learned, saved_unix_ms = decoded(self._path.read_bytes())
            passed_s = (self._clock.unix_ms() - saved_unix_ms) / 1e3
            self._thermostat.recall(learned, unwatched_s=min(UNWATCHED_S_MAX, max(0.0, passed_s)))
        except FileNotFoundError:
            return  # the first start
        except (OSError, ValueError) as error:
            log.warning("learned_ignored", extra={"file": str(self._path), "reason": str(error)})

    async def run(self) -> None:
        """Save again and again until cancelled."""
        while True:
            await asyncio.sleep(SAVE_S)
            await asyncio.to_thread(self._write, self._thermostat.memory())

    def save(self) -> None:
        """Save now. Blocks."""
        self._write(self._thermostat.memory())

    def _write(self, learned: Learned) -> None:
        try:
            content = encoded(learned, saved_unix_ms=self._clock.unix_ms())
            if len(content) > FILE_BYTES_MAX:
                raise ValueError(f"it would have {len(content)} bytes, more than {FILE_BYTES_MAX}")
            write_private(self._path, content)
        except (LambentError, ValueError) as error:
            if not self._broken:
                log.warning("learned_not_saved", extra={"file": str(self._path), "reason": str(error)})
            self._broken = True
        else:
            self._broken = False
