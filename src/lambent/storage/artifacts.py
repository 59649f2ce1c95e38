"""Content-addressed trees of files on a disk.

    FOLDER/artifacts/<digest>/        the tree, read-only; when it is there, it is whole and on disk
    FOLDER/artifacts/<digest>.json    its manifest: each file with its size and SHA-256
    FOLDER/tensors/<sha256>           files of tensors that several trees may have: hard links to one file
    FOLDER/tmp/ingest-*/              what is being written; removed when the store is opened again

One process owns the folder at a time; its threads may ingest side by side.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from lambent.core.errors import NotFound, StorageBroken, StorageFull
from lambent.storage.artifacts_tar import unpack
from lambent.storage.artifacts_tensors import SharedTensors
from lambent.storage.artifacts_tree import (
    CHUNK_BYTES,
    EXECUTABLE,
    FILES_MAX,
    Entry,
    Manifest,
    TreeWriter,
    manifest_of,
    remove_tree,
    sync_folder,
)
from lambent.storage.artifacts_walk import OpenFile, files_in
from lambent.storage.artifacts_zip import unpack_zip
from lambent.storage.base import ArtifactFacts
from lambent.wire.datasets import SEALED_NS
from lambent.wire.typed import from_json

DIGEST: Final = re.compile(r"[0-9a-f]{64}")
UNFINISHED: Final = "ingest-"
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
ALREADY_THERE: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})


class FileArtifacts:
    """Artifacts below a folder; implements `storage.base.Artifacts`. Open it with `FileArtifacts.open`."""

    def __init__(self, folder: Path, *, files_max: int = FILES_MAX) -> None:
        self._files_max: Final = files_max
        self._kept: Final = folder / "artifacts"
        self._unfinished: Final = folder / "tmp"
        self._tensors: Final = SharedTensors(folder / "tensors")

    @classmethod
    def open(cls, folder: Path, *, files_max: int = FILES_MAX) -> FileArtifacts:
        """The artifacts below `folder`, which is made where there is none.

        One may have up to `files_max` files.
        What an ingest left behind when its process was killed is removed. Raises `StorageFull`.
        """
        artifacts = cls(folder, files_max=files_max)
        with _room(folder):
            artifacts._kept.mkdir(parents=True, exist_ok=True)
            artifacts._unfinished.mkdir(parents=True, exist_ok=True)
            for leftover in artifacts._unfinished.glob(f"{UNFINISHED}*"):
                remove_tree(leftover)
            for manifest in artifacts._kept.glob("*.json"):
                if not manifest.with_suffix("").is_dir():  # killed before its tree came
                    manifest.unlink()
            artifacts._tensors.open()
        return artifacts

    def ingest_archive(self, stream: BinaryIO, *, size_bytes_max: int) -> ArtifactFacts:
        """Unpack a tar (gzip allowed) and keep it. Content that is kept already is not kept twice.

        Raises `CallerFault` that names the entry which is no file inside the tree, `PayloadTooLarge` for more
        than `size_bytes_max` bytes unpacked, `StorageFull`; nothing is left of it then.
        """
        return self._ingest(partial(unpack, stream), size_bytes_max=size_bytes_max)

    def ingest_zip(self, stream: BinaryIO, *, size_bytes_max: int) -> ArtifactFacts:
        """The same of a zip, which must be seekable."""
        return self._ingest(partial(unpack_zip, stream), size_bytes_max=size_bytes_max)

    def ingest_tree(self, folder: Path, *, size_bytes_max: int | None = None) -> ArtifactFacts:
        """Keep a copy of a folder.

        Raises `CallerFault` where it holds links or devices, `PayloadTooLarge`, `StorageFull`.
        """
        return self._ingest(partial(_copy_tree, folder), size_bytes_max=size_bytes_max)

    def path(self, digest: str) -> Path:
        """The folder of an artifact; read-only to everybody. Raises `NotFound`."""
        path = self._kept / digest
        # The digest comes from outside: as a path it could lead anywhere.
        if not DIGEST.fullmatch(digest) or not path.is_dir():
            raise NotFound(f"no artifact {digest!r}")
        return path

    def check(self, digest: str) -> None:
        """Raise `StorageBroken` where a file is gone or was written to, as sizes and times tell.

        It costs microseconds a file. What changed the bytes and put the time back is found by `verify` alone.
        """
        folder = self._kept / digest
        try:
            kept_ns = self._manifest_path(digest).stat().st_mtime_ns
            entries = self._manifest(digest).entries
        except (OSError, NotFound) as error:
            raise StorageBroken(f"the files of {folder} are gone: deploy them again") from error
        for entry in entries:
            if not _as_kept(folder / entry.path, entry, kept_ns):
                raise StorageBroken(
                    f"{entry.path} was changed or removed on the server's disk ({folder}): deploy it again"
                )

    def size_bytes(self, digest: str) -> int:
        """Of all its files. Raises `NotFound`, `StorageBroken`."""
        return self._manifest(digest).size_bytes

    def entries(self, digest: str) -> tuple[Entry, ...]:
        """Its files, by their paths. Raises `NotFound`, `StorageBroken`."""
        return self._manifest(digest).entries

    def remove_others(self, digests: frozenset[str]) -> int:
        """Remove all but these, and say how many that were. Not to be called while one is being ingested."""
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=self._unfinished) as scratch:
            others = [path for path in self._kept.iterdir() if path.is_dir() and path.name not in digests]
            for tree in others:
                # Moved first: an artifact that is there is whole, also when this is killed in the middle.
                tree.chmod(0o755)
                tree.rename(Path(scratch) / tree.name)
                self._manifest_path(tree.name).unlink(missing_ok=True)
                remove_tree(Path(scratch) / tree.name)
        return len(others)

    def verify(self, digest: str) -> tuple[str, ...]:
        """Read everything again: a sentence for each file that is not as it was, none if all is well.

        Raises `NotFound`, `StorageBroken` for a damaged manifest.
        """
        wanted = {entry.path: entry for entry in self._manifest(digest).entries}
        found = {file.path: _entry(file) for file in files_in(self.path(digest))}
        missing = [f"{path}: is missing" for path in wanted.keys() - found.keys()]
        extra = [f"{path}: was not there" for path in found.keys() - wanted.keys()]
        changed = [
            f"{path}: has changed" for path in wanted.keys() & found.keys() if wanted[path] != found[path]
        ]
        return tuple(sorted(missing + extra + changed))

    def _ingest(self, fill: Callable[[TreeWriter], None], *, size_bytes_max: int | None) -> ArtifactFacts:
        with _room(self._kept), self._scratch() as scratch:
            tree = scratch / "tree"
            tree.mkdir(mode=0o755)
            writer = TreeWriter(tree, size_bytes_max=size_bytes_max, files_max=self._files_max)
            fill(writer)
            writer.each(self._tensors.share)
            manifest = writer.seal()
            try:
                self.check(manifest.digest)
            except StorageBroken:
                self._put_aside(manifest.digest, scratch)
                self._keep(tree, manifest)
        return _facts(manifest)

    def _put_aside(self, digest: str, scratch: Path) -> None:
        """Make room for what is whole, where there is something that is not. Who has it open keeps it."""
        damaged = self._kept / digest
        with suppress(FileNotFoundError):
            damaged.chmod(0o755)
            damaged.rename(scratch / "damaged")

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        scratch = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self._unfinished))
        try:
            yield scratch
        finally:
            remove_tree(scratch)

    def _keep(self, tree: Path, manifest: Manifest) -> None:
        """Move a sealed tree to its place. The manifest goes first: a tree that is there has one."""
        target = self._kept / manifest.digest
        beside = tree.parent / "manifest.json"
        _write_synced(beside, msgspec.json.encode(manifest))
        beside.replace(self._manifest_path(manifest.digest))
        sync_folder(self._kept)
        try:
            tree.rename(target)
        except OSError as error:
            if error.errno not in ALREADY_THERE:
                raise
            return  # another thread kept the same content a moment ago
        target.chmod(0o555)
        sync_folder(self._kept)

    def _manifest(self, digest: str) -> Manifest:
        self.path(digest)
        path = self._manifest_path(digest)
        try:
            manifest = from_json(path.read_bytes(), Manifest)
        except (OSError, msgspec.DecodeError) as error:
            raise StorageBroken(f"the manifest {path} cannot be read: {error}") from error
        if manifest_of(manifest.entries).digest != digest:
            raise StorageBroken(f"the manifest {path} is not that of its artifact")
        return manifest

    def _manifest_path(self, digest: str) -> Path:
        return self._kept / f"{digest}.json"


def _copy_tree(folder: Path, writer: TreeWriter) -> None:
    for file in files_in(folder):
        writer.add(file.path, read=file.read, size_bytes=file.size_bytes, mode=file.mode)


def _facts(manifest: Manifest) -> ArtifactFacts:
    return ArtifactFacts(digest=manifest.digest, size_bytes=manifest.size_bytes, files=len(manifest.entries))


def _as_kept(path: Path, entry: Entry, kept_ns: int) -> bool:
    try:
        now = path.lstat()
    except OSError:
        return False
    # What was kept before files were given a time of their own is older than its manifest.
    return now.st_size == entry.size_bytes and (now.st_mtime_ns == SEALED_NS or now.st_mtime_ns <= kept_ns)


def _entry(file: OpenFile) -> Entry:
    content = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        content.update(chunk)
    return Entry(
        path=file.path,
        size_bytes=file.size_bytes,
        sha256=content.hexdigest(),
        executable=bool(file.mode & EXECUTABLE),
    )


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """A disk without room in our words."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise StorageFull(
            f"no room left on the disk that holds {folder}; nothing was kept. Free some and try again"
        ) from error
