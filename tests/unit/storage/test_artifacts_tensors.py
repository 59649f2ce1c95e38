"""Trees that have tensors in common share them on the disk."""

import errno
import os
from pathlib import Path

import pytest

from lambent.storage.artifacts import FileArtifacts
from lambent.storage.artifacts_tree import remove_tree
from lambent.storage.base import ArtifactFacts

KIB = 1 << 10
BASE = b"base" * (100 * KIB)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def ingest(artifacts: FileArtifacts, source: Path, files: dict[str, bytes]) -> ArtifactFacts:
    for name, content in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return artifacts.ingest_tree(source)


def tune(number: int) -> dict[str, bytes]:
    return {".lambent/w/1.safetensors": BASE, ".lambent/w/2.safetensors": b"tune%d" % number * (20 * KIB)}


def used_bytes(folder: Path) -> int:
    """What files take on the disk, each counted once."""
    found = {path.stat().st_ino: path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()}
    return sum(found.values())


def test_fine_tunes_share_the_tensors_that_they_have_in_common(folder: Path, tmp_path: Path) -> None:
    artifacts = FileArtifacts.open(folder)
    first = ingest(artifacts, tmp_path / "0", tune(0))
    alone = used_bytes(folder)
    for number in range(1, 8):
        facts = ingest(artifacts, tmp_path / str(number), tune(number))
        assert artifacts.verify(facts.digest) == ()
        path = artifacts.path(facts.digest) / ".lambent/w/1.safetensors"
        assert path.samefile(artifacts.path(first.digest) / ".lambent/w/1.safetensors")
        assert path.read_bytes() == BASE
    assert used_bytes(folder) < 3 * alone  # without sharing it would be eight times


def test_what_is_small_or_no_tensor_stays_a_file_of_its_own(folder: Path, tmp_path: Path) -> None:
    artifacts = FileArtifacts.open(folder)
    for number in range(2):
        files = {"n": b"%d" % number, "a.safetensors": b"small", "model.onnx.data": BASE}
        path = artifacts.path(ingest(artifacts, tmp_path / str(number), files).digest)
        assert [(path / name).stat().st_nlink for name in files] == [1, 1, 1]


def test_tensors_that_no_tree_has_any_more_are_forgotten_at_the_next_start(
    folder: Path, tmp_path: Path
) -> None:
    artifacts = FileArtifacts.open(folder)
    facts = [ingest(artifacts, tmp_path / str(number), tune(number)) for number in range(2)]
    remove_tree(artifacts.path(facts[0].digest))
    assert len([*(folder / "tensors").iterdir()]) == 3
    artifacts = FileArtifacts.open(folder)
    assert len([*(folder / "tensors").iterdir()]) == 2
    assert artifacts.verify(facts[1].digest) == ()


def test_where_nothing_can_be_linked_each_tree_has_its_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))

    artifacts = FileArtifacts.open(folder)
    ingest(artifacts, tmp_path / "0", tune(0))
    monkeypatch.setattr(os, "link", refuse)
    facts = ingest(artifacts, tmp_path / "1", tune(1))
    assert artifacts.verify(facts.digest) == ()
