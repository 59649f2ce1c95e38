"""The part of the client for what runs of jobs leave behind: metrics, logs and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from lambent.client.addresses import segment, with_query
from lambent.client.dead_letters import Get
from lambent.client.transport import Transport
from lambent.core.errors import CallerFault
from lambent.core.series import Points
from lambent.wire.runs import MetricsView, SavedView

TIMEOUT_S: Final = 60.0


class Records:
    """What is kept of runs, by the id of each."""

    def __init__(self, get: Get, transport: Transport) -> None:
        self._get: Final = get
        self._transport: Final = transport

    def metrics(self, run: str, name: str = "") -> Mapping[str, Points]:
        """The curves of what it has logged, of one metric or of all."""
        return self._get(with_query(f"{_path(run)}/metrics", name=name), MetricsView).curves

    def logs(self, run: str, *, tail: int = 100) -> Iterator[str]:
        """The last `tail` lines that it printed, over all its slices, oldest first."""
        return self._transport.lines(f"{_path(run)}/logs?tail={tail}", timeout_s=TIMEOUT_S)

    def follow_logs(self, run: str, *, tail: int = 100) -> Iterator[str]:
        """The last `tail` lines, then each line as it is printed, until the run has ended."""
        return self._transport.lines(f"{_path(run)}/logs?tail={tail}&follow=true", timeout_s=None)

    def saved(self, run: str) -> Sequence[SavedView]:
        """The files that it has saved."""
        return self._get(f"{_path(run)}/artifacts", tuple[SavedView, ...])

    def read(self, run: str, path: str) -> Iterator[bytes]:
        """One of these files, piece by piece."""
        return self._transport.pieces(with_query(f"{_path(run)}/artifact", path=path), timeout_s=TIMEOUT_S)

    def download(self, run: str, folder: Path) -> Sequence[Path]:
        """Write all of them below a folder, which is made. Raises `OSError`."""
        written = []
        for one in self.saved(run):
            path = PurePosixPath(one.path)
            if path.is_absolute() or ".." in path.parts:
                raise CallerFault(f"{one.path!r} leads out of {folder}")  # not from a server of ours
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                file.writelines(self.read(run, one.path))
            written.append(target)
        return written

    def forget(self, run: str) -> None:
        """Remove a run that has ended, with all that is kept of it."""
        self._transport.request("DELETE", _path(run), timeout_s=TIMEOUT_S)


def _path(run: str) -> str:
    return f"/api/v1/runs/{segment(run)}"
