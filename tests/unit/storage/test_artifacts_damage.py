"""Artifacts that something else wrote to: it is noticed before they are used, and a deploy mends them."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from lambent.core.errors import StorageBroken
from lambent.storage.artifacts import FileArtifacts
from lambent.storage.artifacts_tree import remove_tree
from tests.support.tars import tar_of

MIB = 1 << 20
FILES = {"model.onnx": bytes(range(256)) * 100, "lib/tensors.safetensors": b"x" * MIB}
FILE = "model.onnx"


@pytest.fixture
def artifacts(tmp_path: Path) -> FileArtifacts:
    return FileArtifacts.open(tmp_path / "state")


def ingest(artifacts: FileArtifacts, files: dict[str, bytes]) -> str:
    return artifacts.ingest_archive(BytesIO(tar_of(files)), size_bytes_max=16 * MIB).digest


def write_into(path: Path) -> None:
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"!")


def truncate(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, 10)


def remove(path: Path) -> None:
    path.parent.chmod(0o755)
    path.unlink()


def remove_all(path: Path) -> None:
    remove_tree(path.parent)


def lose_manifest(path: Path) -> None:
    path.parent.parent.joinpath(f"{path.parent.name}.json").unlink()


DAMAGES = pytest.mark.parametrize("damage", [write_into, truncate, remove, remove_all, lose_manifest])


@DAMAGES
def test_what_was_written_to_is_noticed_by_its_size_or_time(
    artifacts: FileArtifacts, damage: Callable[[Path], None]
) -> None:
    digest = ingest(artifacts, FILES)
    artifacts.check(digest)
    damage(artifacts.path(digest) / FILE)
    with pytest.raises(StorageBroken, match="deploy"):
        artifacts.check(digest)


@DAMAGES
def test_the_same_content_deployed_again_is_whole_again(
    artifacts: FileArtifacts, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    digest = ingest(artifacts, FILES)
    damage(artifacts.path(digest) / FILE)
    assert ingest(artifacts, FILES) == digest
    artifacts.check(digest)
    assert artifacts.verify(digest) == ()
    assert not list((tmp_path / "state" / "tmp").iterdir())


def test_tensors_that_were_written_to_are_not_shared_with_others(artifacts: FileArtifacts) -> None:
    first = ingest(artifacts, FILES)
    write_into(artifacts.path(first) / "lib/tensors.safetensors")
    second = ingest(artifacts, {**FILES, "model.onnx": b"another"})
    assert artifacts.verify(second) == ()
    with pytest.raises(StorageBroken):
        artifacts.check(first)


def test_what_was_kept_before_files_had_a_time_of_their_own_is_whole(artifacts: FileArtifacts) -> None:
    digest = ingest(artifacts, FILES)
    folder = artifacts.path(digest)
    kept_ns = folder.with_name(f"{digest}.json").stat().st_mtime_ns
    for name in FILES:
        os.utime(folder / name, ns=(kept_ns - 1, kept_ns - 1))
    artifacts.check(digest)
