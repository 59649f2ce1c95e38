"""A model's files: an archive or a folder of the server's machine, or what was uploaded to it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from lambent.core.errors import CallerFault, NotFound, PayloadTooLarge
from lambent.core.invocation import Principal, Role
from lambent.storage.artifacts_tree import unpacked_bytes_max
from lambent.storage.base import Artifacts
from lambent.wire.aws.faults import Fault
from lambent.wire.aws.sagemaker_control import Container, invalid

# As the bucket: the key is then the path of a file or a folder on the server's machine, which is copied.
FOLDER_BUCKET: Final = "s3://lambent-directory/"
# As the bucket: the key is the digest that `POST /api/v1/artifacts` told of an archive.
UPLOADS_BUCKET: Final = "s3://lambent-artifacts/"
FILE: Final = "file://"


class ModelData:
    """Keeps what a model is made of."""

    def __init__(self, artifacts: Artifacts, *, size_bytes_max: int) -> None:
        self._artifacts: Final = artifacts
        self._size_bytes_max: Final = size_bytes_max

    async def keep(self, container: Container, principal: Principal) -> str:
        """The digest of its artifact. Raises `Fault` for what is not there, or is no archive.

        A file of the machine is for an administrator: the server may read more there than who calls it.
        """
        location = location_of(container)
        if location.startswith(UPLOADS_BUCKET):
            return await self._uploaded(location)
        path = _path_of(location)
        if path is None:
            raise invalid(
                f"Could not find model data at {location}: no object store is connected to this server. Give "
                f"{FILE}PATH or {FOLDER_BUCKET}PATH for a file of its machine, or {UPLOADS_BUCKET}DIGEST for "
                "what was uploaded to /api/v1/artifacts"
            )
        principal.require(Role.ADMIN)
        try:
            return await asyncio.to_thread(self._ingest, path)
        except OSError as error:
            raise _lost(location, error.strerror or "it cannot be read") from error
        except (CallerFault, PayloadTooLarge) as error:
            raise _lost(location, error.message) from error

    async def _uploaded(self, location: str) -> str:
        digest = location.removeprefix(UPLOADS_BUCKET).strip("/")
        try:
            await asyncio.to_thread(self._artifacts.path, digest)
        except NotFound as error:
            raise _lost(location, error.message) from error
        return digest

    def _ingest(self, path: Path) -> str:
        if path.is_dir():
            return self._artifacts.ingest_tree(path, size_bytes_max=self._size_bytes_max).digest
        bytes_max = unpacked_bytes_max(path.stat().st_size, bytes_max=self._size_bytes_max)
        with path.open("rb") as file:
            return self._artifacts.ingest_archive(file, size_bytes_max=bytes_max).digest


def location_of(container: Container) -> str:
    """Where a model's files are. Raises `Fault` where that is not said."""
    source = container.model_data_source.s3_data_source if container.model_data_source else None
    location = container.model_data_url or (source.s3_uri if source else "")
    if not location:
        raise invalid(
            "Container images are not run here: give ModelDataUrl, a model.tar.gz with code/inference.py or "
            "with a model file of a kind that is served without code"
        )
    return location


def _path_of(location: str) -> Path | None:
    if location.startswith("/"):
        return Path(location)
    for prefix in (FILE, FOLDER_BUCKET):
        if location.startswith(prefix):
            return Path("/", location.removeprefix(prefix).lstrip("/"))
    return None


def _lost(location: str, why: str) -> Fault:
    return invalid(f"Could not find model data at {location}: {why}")
