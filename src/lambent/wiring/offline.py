"""OpenAI's files, uploads, batches and tuning jobs: what keeps them, sees them through, and their door."""

from __future__ import annotations

from typing import Final

from lambent.clock import SystemClock
from lambent.control.datasets import Shelf
from lambent.gateway.acceptance import Acceptance
from lambent.gateway.protocols import Behind
from lambent.gateway.protocols.openai.files import BatchOperations, FileOperations
from lambent.gateway.protocols.openai.lines import BatchLines
from lambent.gateway.protocols.openai.offline import OfflineDoor
from lambent.gateway.protocols.openai.tuning import Tuning, TuningOperations
from lambent.gateway.protocols.openai.uploads import UploadOperations
from lambent.gateway.protocols.speaking import Speaking
from lambent.jobs.batches import Batches
from lambent.storage.batches import BatchStore
from lambent.storage.files import Files
from lambent.storage.uploads import Uploads
from lambent.wiring.parts import Parts


class Offline:
    """Made with a server, and restored before it answers."""

    def __init__(self, parts: Parts, clock: SystemClock) -> None:
        records, folder = parts.kept.store.records, parts.settings.state_dir
        self._parts: Final = parts
        self._clock: Final = clock
        self._files: Final = Files(records, folder / "files")
        speaking = Speaking(invoker=parts.dispatcher, routes=parts.routes, clock=clock)
        lines = BatchLines(speaking, Acceptance(parts.queue, parts.routes), clock)
        store = BatchStore(records, self._files, folder / "batches")
        self._batches: Final = Batches(store, lines, parts.queue, clock, parts.tasks)
        uploads = Uploads(records, self._files, folder / "uploads")
        self._uploads: Final = UploadOperations(uploads, clock, parts.tasks)

    async def restore(self) -> None:
        """Take up what an earlier server left."""
        await self._batches.restore()
        await self._uploads.restore()

    def door(self, behind: Behind, shelf: Shelf) -> OfflineDoor:
        """Where all of it is asked for. Files to train with become datasets of `shelf`."""
        files = FileOperations(self._files, self._clock)
        batches = BatchOperations(files, self._batches)
        parts, kept = self._parts, self._parts.kept
        tuning = Tuning(
            kept.store.records, files, shelf, parts.routes,
            runner=parts.runner, runs=kept.store.runs, clock=self._clock,
        )  # fmt: skip
        operations = [
            *files.operations(),
            *self._uploads.operations(),
            *batches.operations(),
            *TuningOperations(tuning, self._files, parts.curves).operations(),
        ]
        return OfflineDoor(behind, operations)
