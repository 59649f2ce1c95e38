"""What outlives the event loop: everything on disk, opened in order and closed in reverse."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from lambent.clock import SystemClock
from lambent.core.errors import PlatformFault
from lambent.metering.journal import Journal
from lambent.metering.ledger import Ledger
from lambent.settings import Settings
from lambent.storage.artifacts import FileArtifacts
from lambent.storage.inspection import damage
from lambent.storage.logs import DeploymentLogs
from lambent.storage.run_records import RunRecords
from lambent.storage.sql import SqlStore
from lambent.storage.statedir import load_master, owned
from lambent.storage.transforms import TransformCache

# A folder of pictures has many small files.
DATASET_FILES_MAX: Final = 250_000

log = logging.getLogger(__name__)


class Kept:
    """The store, the artifacts, the logs, the journal with its ledger, and the master key."""

    def __init__(self, settings: Settings, clock: SystemClock, closing: ExitStack) -> None:
        folder = closing.enter_context(owned(settings.state_dir))
        self.work_dir = _emptied(folder / "work")
        self.runs_dir = folder / "runs"
        self.runs_dir.mkdir(exist_ok=True)
        self.store = SqlStore.open(folder / "lambent.db", clock)
        closing.callback(self.store.close)
        self.artifacts = FileArtifacts.open(folder)
        self.dataset_files = FileArtifacts.open(folder / "datasets", files_max=DATASET_FILES_MAX)
        self.transforms = TransformCache(folder / "transforms", bytes_max=settings.transforms_bytes_max)
        self.transforms.open()
        self.logs = DeploymentLogs(folder / "logs", clock)
        closing.callback(self.logs.close)
        self.run_records = RunRecords(folder / "records")
        self.journal = Journal.open(folder / "usage")
        closing.callback(self.journal.close)
        self.ledger = Ledger(self.store.database, folder / "usage")
        self.master = load_master(folder / "master.key")
        # What came without its version being stored, and what only runs that have ended were held to.
        self.dataset_files.remove_others(self.store.datasets.digests())

    @property
    def troubles(self) -> Mapping[str, Callable[[], str]]:
        """What has been lost, by what lost it: a sentence, or nothing."""
        return {
            "journal": self._journal_trouble,
            "ledger": self._ledger_trouble,
            "logs": self._logs_trouble,
            "artifacts": lambda: damage(self.store.deployments, self.artifacts),
        }

    def _journal_trouble(self) -> str:
        health = self.journal.health()
        if health.lost_records:
            return f"{health.lost_records} usage records are lost: {health.error}"
        return (
            f"{health.held_records} usage records wait for the disk: {health.error}" if health.error else ""
        )

    def _ledger_trouble(self) -> str:
        torn = self.ledger.torn_records()
        return f"{torn} usage records could not be read" if torn else ""

    def _logs_trouble(self) -> str:
        return f"the disk had no room for {self.logs.lost_lines} lines" if self.logs.lost_lines else ""


def opened(settings: Settings, clock: SystemClock, closing: ExitStack) -> Kept:
    """Open the state directory; `closing` closes it. Raises `PlatformFault` where it cannot be used."""
    try:
        return Kept(settings, clock, closing)
    except OSError as error:  # a folder where a file should be, no permission: nothing of ours
        raise PlatformFault(f"cannot use the state directory {settings.state_dir}: {error}") from error


def _emptied(folder: Path) -> Path:
    """A folder for work in progress: what an earlier server left unfinished is of no use to anybody."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
