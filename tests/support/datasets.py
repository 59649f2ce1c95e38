"""Datasets as a worker gets them, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from lambent.runtimes.datasets.dataset import Dataset, Ranks
from lambent.storage.artifacts import FileArtifacts
from lambent.wire.oneshot import DatasetRef
from tests.support.tars import tar_of


def ref_of(store: Path, files: Mapping[str, bytes], *, name: str = "rows", number: int = 1) -> DatasetRef:
    """A version of these files, kept as the server keeps it."""
    artifacts = FileArtifacts.open(store)
    facts = artifacts.ingest_archive(BytesIO(tar_of(files)), size_bytes_max=1 << 30)
    return DatasetRef(name, number, str(artifacts.path(facts.digest)), facts.digest)


def dataset_of(
    store: Path, files: Mapping[str, bytes], *, name: str = "rows", rank: int = 0, world: int = 1
) -> Dataset:
    """The same, opened."""
    return Dataset(ref_of(store, files, name=name), ranks=Ranks(rank, world))
