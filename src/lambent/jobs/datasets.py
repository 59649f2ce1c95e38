"""Which versions of datasets a run is held to, where their files are, and the runs that new data starts."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from lambent.core.errors import LambentError, NotFound
from lambent.core.spec import Setting
from lambent.pool.routes import Routes
from lambent.storage.base import Run
from lambent.storage.datasets import Datasets
from lambent.storage.transforms import TransformCache
from lambent.wire.oneshot import DatasetRef

log = logging.getLogger(__name__)


class Start(Protocol):
    """Who starts runs."""

    def __call__(self, project: str, job: str, params: Mapping[str, Setting], /) -> Awaitable[Run]:
        """Start a run and return it. Raises `LambentError`."""


class OnData:
    """Starts the jobs that want to know of new data."""

    def __init__(self, routes: Routes, start: Start) -> None:
        self._routes: Final = routes
        self._start: Final = start

    async def added(self, project: str, name: str) -> Sequence[str]:
        """There is a new version of a dataset. Returns the runs that begin, by their ids."""
        started = []
        for route in self._routes.all():
            if route.project == project and name in route.spec.on_data.split(","):
                try:
                    started.append((await self._start(project, route.name, {})).id)
                except LambentError as error:  # the data is kept, whatever becomes of the run
                    log.warning("run_not_started", extra={"job": route.name, "reason": error.message})
        return started


class Paths(Protocol):
    """The store of the datasets' files."""

    def path(self, digest: str) -> Path:
        """The folder of one. Raises `NotFound`."""


class HeldDatasets:
    """What runs are given. Methods block."""

    def __init__(self, datasets: Datasets, files: Paths, transforms: TransformCache) -> None:
        self._datasets: Final = datasets
        self._files: Final = files
        self._transforms: Final = transforms

    def transforms_dir(self, project: str) -> Path:
        """Where a project's runs keep transformed data. What is too much is removed first."""
        self._transforms.prune()
        return self._transforms.of(project)

    def newest(self, project: str) -> dict[str, int]:
        """What a run that is created now is held to: the newest version of each dataset."""
        return self._datasets.newest(project)

    def chosen(self, project: str, numbers: Mapping[str, int]) -> dict[str, int]:
        """The same with some versions that its starter wants. Raises `NotFound` for one that is not there."""
        for name, number in numbers.items():
            if self._datasets.find(project, name, number) is None:
                raise NotFound(
                    f"there is no dataset '{name}@{number}'; `lambent data ls` lists what there is"
                )
        return {**self.newest(project), **numbers}

    def refs(self, project: str, numbers: Mapping[str, int]) -> dict[str, DatasetRef]:
        """What a slice is told of them, by name. One whose files are gone has no path."""
        return {
            version.name: DatasetRef(version.name, version.number, self._path(version.digest), version.digest)
            for version in self._datasets.held(project, numbers)
        }

    def _path(self, digest: str) -> str:
        try:
            return str(self._files.path(digest))
        except NotFound:
            return ""
