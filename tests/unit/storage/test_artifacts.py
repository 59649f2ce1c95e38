"""Artifacts: kept whole or not at all, found by content, never led out of their folder."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest

from lambent.core.errors import CallerFault, NotFound, StorageBroken, StorageFull
from lambent.storage.artifacts import FileArtifacts
from lambent.storage.base import ArtifactFacts, Artifacts
from tests.support.full_disk import fill, is_mounted, small_disk
from tests.support.patience import PATIENT_S
from tests.support.rights import GIVE_UP_RIGHTS
from tests.support.tars import tar_of

MIB = 1 << 20
FILES = {"app.py": b"def handler(event, context): ...\n", "lib/deep/weights.bin": bytes(range(256)) * 5000}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def artifacts(folder: Path) -> FileArtifacts:
    return FileArtifacts.open(folder)


def tree(folder: Path, files: dict[str, bytes], *, executable: tuple[str, ...] = ()) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if name in executable else 0o644)
    return folder


def ingest(artifacts: FileArtifacts, archive: bytes) -> ArtifactFacts:
    return artifacts.ingest_archive(BytesIO(archive), size_bytes_max=16 * MIB)


def nothing_is_left_of_it(folder: Path) -> bool:
    return not list((folder / "tmp").iterdir()) and not list((folder / "artifacts").iterdir())


def test_it_is_what_the_protocol_says(artifacts: FileArtifacts) -> None:
    as_declared: Artifacts = artifacts
    assert as_declared is artifacts


def test_an_archive_and_a_folder_of_equal_content_are_one_artifact(
    artifacts: FileArtifacts, folder: Path, tmp_path: Path
) -> None:
    plain = ingest(artifacts, tar_of(FILES))
    assert plain == ArtifactFacts(
        digest=plain.digest, size_bytes=sum(map(len, FILES.values())), files=len(FILES)
    )
    assert ingest(artifacts, tar_of(FILES, compression="gz")) == plain
    assert artifacts.ingest_tree(tree(tmp_path / "tree", FILES)) == plain
    assert len(list((folder / "artifacts").iterdir())) == 2, "a tree, and its manifest beside it"
    path = artifacts.path(plain.digest)
    assert {name: (path / name).read_bytes() for name in FILES} == FILES


def test_the_digest_is_the_same_tomorrow(artifacts: FileArtifacts) -> None:
    # Digests are stored in the database and in other artifacts: this one may change with a migration only.
    facts = ingest(artifacts, tar_of({"a.txt": b"a", "b/c": b""}, executable=("b/c",)))
    assert facts.digest == "2cec52848b7fb8da9c2d3f8a36c91815e8ea3bea5930eefca5c70111f6b7069f"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"a.py": b"1", "b.py": b"3"}, id="content"),
        pytest.param({"a.py": b"1", "c.py": b"2"}, id="path"),
        pytest.param({"a.py": b"1"}, id="fewer files"),
        pytest.param({"a.py": b"2", "b.py": b"1"}, id="contents exchanged"),
    ],
)
def test_the_digest_covers(artifacts: FileArtifacts, other: dict[str, bytes]) -> None:
    files = {"a.py": b"1", "b.py": b"2"}
    digest = ingest(artifacts, tar_of(files)).digest
    assert ingest(artifacts, tar_of(other)).digest != digest


def test_the_digest_covers_the_executable_bit_and_no_other_mode(artifacts: FileArtifacts) -> None:
    files = {"run.sh": b"#!/bin/sh\n"}
    plain, executable = tar_of(files), tar_of(files, executable=("run.sh",))
    assert ingest(artifacts, plain).digest != ingest(artifacts, executable).digest
    assert ingest(artifacts, tar_of(files, mode=0o4600)) == ingest(artifacts, plain)


def test_order_and_empty_folders_of_an_archive_do_not_matter(artifacts: FileArtifacts) -> None:
    backwards = dict(reversed(FILES.items()))
    assert ingest(artifacts, tar_of(backwards, folders=("empty",))) == ingest(artifacts, tar_of(FILES))


def test_what_is_kept_is_read_only(artifacts: FileArtifacts) -> None:
    facts = ingest(artifacts, tar_of(FILES, executable=("app.py",), mode=0o666))
    path = artifacts.path(facts.digest)
    modes = {
        entry.relative_to(path).as_posix(): stat.S_IMODE(entry.stat().st_mode) for entry in path.rglob("*")
    }
    assert modes == {"app.py": 0o555, "lib": 0o555, "lib/deep": 0o555, "lib/deep/weights.bin": 0o444}
    assert stat.S_IMODE(path.stat().st_mode) == 0o555


def test_it_needs_no_rights_of_the_superuser(tmp_path: Path) -> None:
    story = f"""{GIVE_UP_RIGHTS}
import sys
from io import BytesIO
from pathlib import Path
from lambent.storage.artifacts import FileArtifacts
artifacts = FileArtifacts.open(Path(sys.argv[1]))
archive = Path(sys.argv[2]).read_bytes()
for _ in range(2):
    facts = artifacts.ingest_archive(BytesIO(archive), size_bytes_max={MIB * 16})
try:
    (artifacts.path(facts.digest) / "lib" / "new").touch()
except PermissionError:
    assert not list((Path(sys.argv[1]) / "tmp").iterdir())
    print("kept")
"""
    (tmp_path / "archive.tar").write_bytes(tar_of(FILES))
    done = subprocess.run(
        [sys.executable, "-c", story, str(tmp_path / "state"), str(tmp_path / "archive.tar")],
        capture_output=True,
        text=True,
        timeout=PATIENT_S,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("kept\n", "")


def test_ingesting_the_same_content_again_changes_nothing(artifacts: FileArtifacts, folder: Path) -> None:
    facts = ingest(artifacts, tar_of(FILES))
    before = artifacts.path(facts.digest).stat()
    assert ingest(artifacts, tar_of(FILES)) == facts
    assert artifacts.path(facts.digest).stat().st_mtime_ns == before.st_mtime_ns
    assert list((folder / "tmp").iterdir()) == []


def test_many_threads_may_ingest_the_same_content_at_once(artifacts: FileArtifacts, folder: Path) -> None:
    archive = tar_of(FILES)
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: ingest(artifacts, archive).digest, range(32)))
    assert len(found) == 1
    assert artifacts.verify(found.pop()) == ()
    assert list((folder / "tmp").iterdir()) == []


@pytest.mark.parametrize("digest", ["", "..", "../../etc", "0" * 63, "0" * 64, "A" * 64])
def test_an_unknown_digest_is_not_found(artifacts: FileArtifacts, digest: str) -> None:
    for method in (artifacts.path, artifacts.verify):
        with pytest.raises(NotFound):
            method(digest)


def test_verify_names_each_file_that_is_not_as_it_was(artifacts: FileArtifacts) -> None:
    facts = ingest(artifacts, tar_of({"a": b"1", "b": b"2", "c": b"3", "d": b"4"}))
    assert artifacts.verify(facts.digest) == ()
    path = artifacts.path(facts.digest)
    for entry in (path, *path.iterdir()):
        entry.chmod(0o700)
    (path / "a").write_bytes(b"!")
    (path / "b").unlink()
    (path / "e").touch()
    (path / "d").chmod(0o600)
    assert artifacts.verify(facts.digest) == (
        "a: has changed",
        "b: is missing",
        "c: has changed",  # it became executable
        "e: was not there",
    )


def test_a_damaged_manifest_is_noticed(artifacts: FileArtifacts, folder: Path) -> None:
    facts = ingest(artifacts, tar_of(FILES))
    other = ingest(artifacts, tar_of({"other": b""}))
    manifest = folder / "artifacts" / f"{facts.digest}.json"
    shutil.copy(folder / "artifacts" / f"{other.digest}.json", manifest)
    with pytest.raises(StorageBroken, match="not that of its artifact"):
        artifacts.verify(facts.digest)
    manifest.write_bytes(b"{")
    with pytest.raises(StorageBroken, match="cannot be read"):
        artifacts.verify(facts.digest)


# --- folders that somebody else wrote


def link(place: Path) -> None:
    place.symlink_to("/etc/passwd")


def link_to_folder(place: Path) -> None:
    place.symlink_to("/etc")


def broken_link(place: Path) -> None:
    place.symlink_to("nowhere")


def pipe(place: Path) -> None:
    os.mkfifo(place)


@pytest.mark.parametrize("make", [link, link_to_folder, broken_link, pipe])
def test_a_folder_with_something_that_is_no_file_is_refused_by_name(
    artifacts: FileArtifacts, folder: Path, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    source = tree(tmp_path / "tree", FILES)
    make(source / "lib" / "odd")
    with pytest.raises(CallerFault, match="'lib/odd' is"):
        artifacts.ingest_tree(source)
    assert nothing_is_left_of_it(folder)


def test_a_name_that_is_not_utf_8_is_refused(artifacts: FileArtifacts, folder: Path, tmp_path: Path) -> None:
    source = tree(tmp_path / "tree", FILES)
    Path(os.fsdecode(os.fsencode(source) + b"/\xff.py")).touch()
    with pytest.raises(CallerFault, match=r"udcff.py' is not UTF-8"):
        artifacts.ingest_tree(source)
    assert nothing_is_left_of_it(folder)


def test_an_empty_folder_is_refused(artifacts: FileArtifacts, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tree" / "empty").mkdir(parents=True)
    with pytest.raises(CallerFault, match="no files"):
        artifacts.ingest_tree(tmp_path / "tree")
    assert nothing_is_left_of_it(folder)


# --- the disk and the process end


@pytest.mark.parametrize("compression", ["", "gz"])
def test_a_full_disk_keeps_nothing_of_an_archive(tmp_path: Path, compression: str) -> None:
    noise = os.urandom(MIB)
    archive = tar_of({f"{number}.bin": noise for number in range(5)}, compression=compression)
    with small_disk(tmp_path / "disk", room_bytes=3 * MIB) as folder:
        artifacts = FileArtifacts.open(folder)
        small = ingest(artifacts, tar_of(FILES))
        if not is_mounted(folder):
            archive = tar_of({"large.bin": noise * 5}, compression=compression)
        with pytest.raises(StorageFull, match="no room left"):
            ingest(artifacts, archive)
        assert list((folder / "tmp").iterdir()) == []
        assert {entry.stem for entry in (folder / "artifacts").iterdir()} == {small.digest}
        assert ingest(artifacts, tar_of({"later": noise[: MIB // 2]})).files == 1


def test_a_disk_that_is_full_to_the_last_inode_is_reported_at_open(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", room_bytes=MIB) as folder:
        if is_mounted(folder):
            fill(folder)
            with pytest.raises(StorageFull):
                ingest(FileArtifacts.open(folder), tar_of(FILES))
        else:
            with pytest.raises(StorageFull):
                ingest(FileArtifacts.open(folder), tar_of({"large": bytes(2 * MIB)}))


def test_a_kill_in_the_middle_of_an_ingest_leaves_nothing_after_the_next_start(folder: Path) -> None:
    story = """
import sys
from pathlib import Path
from lambent.storage.artifacts import FileArtifacts
FileArtifacts.open(Path(sys.argv[1])).ingest_archive(sys.stdin.buffer, size_bytes_max=1 << 30)
print("acknowledged", flush=True)
"""
    archive = tar_of({"first.bin": bytes(MIB), "second.bin": bytes(MIB)})
    process = subprocess.Popen(
        [sys.executable, "-c", story, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    # A pipe holds 64 KiB: when this much has been taken, most of the first file is on the disk.
    process.stdin.write(archive[: MIB + MIB // 2])
    process.stdin.flush()
    process.send_signal(signal.SIGKILL)
    out, _ = process.communicate(timeout=PATIENT_S)
    assert out == b""
    assert len(list((folder / "tmp").rglob("*.bin"))) >= 1, "the kill came in the middle"
    again = FileArtifacts.open(folder)
    assert nothing_is_left_of_it(folder)
    assert again.verify(ingest(again, archive).digest) == ()


def test_a_kill_before_the_last_step_leaves_nothing_after_the_next_start(folder: Path) -> None:
    story = """
import os, signal, sys
from pathlib import Path
from lambent.storage.artifacts import FileArtifacts
artifacts = FileArtifacts.open(Path(sys.argv[1]))
Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
artifacts.ingest_tree(Path(sys.argv[2]))
"""
    source = tree(folder / "source", FILES)
    done = subprocess.run(
        [sys.executable, "-c", story, str(folder), str(source)], timeout=PATIENT_S, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert len(list((folder / "artifacts").iterdir())) == 1, "its manifest came first"
    again = FileArtifacts.open(folder)
    assert nothing_is_left_of_it(folder)
    assert again.verify(again.ingest_tree(source).digest) == ()


def test_only_what_an_ingest_left_is_removed_at_open(folder: Path) -> None:
    (folder / "tmp" / "of-a-job").mkdir(parents=True)
    FileArtifacts.open(folder)
    assert (folder / "tmp" / "of-a-job").is_dir()


def test_many_small_files_are_kept_as_few_are(artifacts: FileArtifacts, folder: Path) -> None:
    files = {f"{number % 7}/{number}": str(number).encode() for number in range(200)}
    facts = ingest(artifacts, tar_of(files))
    assert facts.files == 200
    assert artifacts.verify(facts.digest) == ()
    assert FileArtifacts.open(folder).ingest_archive(BytesIO(tar_of(files)), size_bytes_max=MIB) == facts


def test_what_nobody_needs_is_removed_and_the_rest_stays_whole(
    artifacts: FileArtifacts, folder: Path
) -> None:
    needed, other = ingest(artifacts, tar_of(FILES)), ingest(artifacts, tar_of({"a/b/c": b"x"}))
    assert [entry.path for entry in artifacts.entries(other.digest)] == ["a/b/c"]
    assert artifacts.remove_others(frozenset({needed.digest, "no digest at all"})) == 1
    assert artifacts.verify(needed.digest) == ()
    with pytest.raises(NotFound):
        artifacts.path(other.digest)
    assert len(list((folder / "artifacts").iterdir())) == 2
    assert not list((folder / "tmp").iterdir())
    assert ingest(artifacts, tar_of({"a/b/c": b"x"})) == other
    assert artifacts.remove_others(frozenset()) == 2
    assert nothing_is_left_of_it(folder)
