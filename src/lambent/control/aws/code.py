"""Uploaded code: a zip in base64, or, as an extension, a folder of this machine."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import tempfile
from pathlib import Path
from typing import Final, Protocol

from lambent.clock import Clock
from lambent.control.aws.state import CodeBook
from lambent.core.errors import CallerFault, NotFound, PayloadTooLarge
from lambent.core.invocation import Principal, Role
from lambent.storage.artifacts_tree import TooManyFiles
from lambent.storage.base import ArtifactFacts, Artifacts
from lambent.wire.aws.downloads import FILE, path_of
from lambent.wire.aws.faults import Fault, bad_parameter

ZIPPED_BYTES_MAX: Final = 52_428_800
UNZIPPED_BYTES_MAX: Final = 262_144_000
# As the bucket: the key is then the path of a folder on the server's machine, which is copied.
FOLDER_BUCKET: Final = "lambent-directory"


class Source(Protocol):
    """Where code comes from, as requests say it."""

    @property
    def zip_file(self) -> bytes | None: ...

    @property
    def s3_bucket(self) -> str | None: ...

    @property
    def s3_key(self) -> str | None: ...


class CodeStore:
    """Keeps code that is uploaded."""

    def __init__(self, artifacts: Artifacts, work_dir: Path, master: bytes, clock: Clock) -> None:
        self._artifacts: Final = artifacts
        self._work_dir: Final = work_dir
        self._master: Final = master
        self._clock: Final = clock

    async def keep(self, source: Source, principal: Principal) -> CodeBook:
        """Unpack and keep it. Raises `Fault` for what cannot be unpacked, is too large or is not there.

        A folder of the machine is for an administrator: the server may read more there than who calls it.
        """
        if source.zip_file is not None:
            return await self._zip(source.zip_file)
        if source.s3_bucket == FOLDER_BUCKET and source.s3_key:
            principal.require(Role.ADMIN)
            return await self._folder(Path(source.s3_key))
        if source.s3_bucket and source.s3_key:
            raise bad_parameter(
                "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: "
                "The specified bucket does not exist"
            )
        raise bad_parameter("Please provide a source for function code.")

    def location(self, code: CodeBook, base_url: str) -> str | None:
        """Where whoever has the address can get the zip, for some minutes."""
        if not code.archive:
            return None
        now_unix_s = self._clock.unix_ms() // 1000
        return base_url + path_of(self._master, code.archive, now_unix_s=now_unix_s)

    def folder(self, code: CodeBook) -> Path:
        """Where it lies unpacked. Raises `NotFound`."""
        return self._artifacts.path(code.digest)

    async def _zip(self, content: bytes) -> CodeBook:
        if not content:
            raise bad_parameter("Uploaded file must be a non-empty zip")
        if len(content) > ZIPPED_BYTES_MAX:
            text = f"Zipped size must be smaller than {ZIPPED_BYTES_MAX} bytes"
            raise Fault("RequestEntityTooLargeException", 413, text, extra={})
        return await asyncio.to_thread(self._kept, content)

    def _kept(self, content: bytes) -> CodeBook:
        facts = self._ingest(content)
        archive = self._keep_archive(content)
        sha256 = base64.b64encode(hashlib.sha256(content).digest()).decode()
        return CodeBook(sha256=sha256, size_bytes=len(content), digest=facts.digest, archive=archive.digest)

    def _ingest(self, content: bytes) -> ArtifactFacts:
        try:
            return self._artifacts.ingest_zip(io.BytesIO(content), size_bytes_max=UNZIPPED_BYTES_MAX)
        except TooManyFiles as error:
            raise bad_parameter(f"Could not unzip uploaded file: {error.message}") from error
        except PayloadTooLarge as error:
            text = f"Unzipped size must be smaller than {UNZIPPED_BYTES_MAX} bytes"
            raise bad_parameter(text) from error
        except CallerFault as error:
            if error.message == "it holds no files":
                raise bad_parameter("Uploaded file must be a non-empty zip") from error
            text = "Could not unzip uploaded file. Please check your file, then try to upload again."
            raise bad_parameter(text) from error

    def _keep_archive(self, content: bytes) -> ArtifactFacts:
        with tempfile.TemporaryDirectory(dir=self._work_dir) as folder:
            Path(folder, FILE).write_bytes(content)
            return self._artifacts.ingest_tree(Path(folder))

    async def _folder(self, folder: Path) -> CodeBook:
        if not folder.is_absolute() or not await asyncio.to_thread(folder.is_dir):
            raise bad_parameter(
                "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: "
                "The specified key does not exist."
            )
        try:
            facts = await asyncio.to_thread(
                self._artifacts.ingest_tree, folder, size_bytes_max=UNZIPPED_BYTES_MAX
            )
        except (CallerFault, NotFound, PayloadTooLarge) as error:
            raise bad_parameter(f"The folder {folder} cannot be taken: {error.message}") from error
        sha256 = base64.b64encode(bytes.fromhex(facts.digest)).decode()
        return CodeBook(sha256=sha256, size_bytes=facts.size_bytes, digest=facts.digest)


def check_no_image(image: str | None) -> None:
    """Raise `Fault` for a container image: nothing here runs one."""
    if image is not None:
        raise Fault(
            "InvalidParameterValueException",
            400,
            "Container images are not run here: give the function's code as a zip",
        )
