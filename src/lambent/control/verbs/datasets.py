"""Datasets: added, listed, shown, removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lambent.control.datasets import Shelf
from lambent.control.operations import Asked, Operation, Parameter
from lambent.core.invocation import Role
from lambent.wire.datasets import DatasetDetail, DatasetReply, DatasetsRemoved, DatasetView

NUMBER_MAX: Final = 999_999_999
NUMBER: Final = Parameter("number", "a version's number", "integer")


class DatasetVerbs:
    """Everything under /datasets."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf: Final = shelf

    def operations(self) -> Sequence[Operation]:
        """The table."""
        return (
            Operation(
                name="listDatasets",
                method="GET",
                path="/datasets",
                role=Role.READ,
                summary="The newest version of each dataset",
                run=self._list,
                reply=tuple[DatasetView, ...],
            ),
            Operation(
                name="addDataset",
                method="POST",
                path="/datasets/{name}",
                role=Role.DEPLOY,
                summary="Store a tar of files as the next version of a dataset",
                run=self._add,
                upload="application/x-tar",
                reply=DatasetReply,
                status=201,
            ),
            Operation(
                name="showDataset",
                method="GET",
                path="/datasets/{name}",
                role=Role.READ,
                summary="A version of a dataset, the newest unless told, with its files",
                run=self._show,
                query=(NUMBER,),
                reply=DatasetDetail,
            ),
            Operation(
                name="removeDataset",
                method="DELETE",
                path="/datasets/{name}",
                role=Role.DEPLOY,
                summary="Remove a dataset, or one version of it",
                run=self._remove,
                query=(NUMBER,),
                reply=DatasetsRemoved,
            ),
        )

    async def _list(self, asked: Asked) -> tuple[DatasetView, ...]:
        return tuple(await self._shelf.all(asked.project))

    async def _add(self, asked: Asked) -> DatasetReply:
        return await self._shelf.add(asked.project, asked.path["name"], asked.request.stream())

    async def _show(self, asked: Asked) -> DatasetDetail:
        return await self._shelf.show(asked.project, asked.path["name"], _number(asked))

    async def _remove(self, asked: Asked) -> DatasetsRemoved:
        removed = await self._shelf.remove(asked.project, asked.path["name"], _number(asked))
        return DatasetsRemoved(tuple(removed))


def _number(asked: Asked) -> int | None:
    return asked.number("number", 0, low=1, high=NUMBER_MAX) or None
