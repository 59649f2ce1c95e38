"""No archive leads out of its tree, fills the memory or the disk, or is kept when it is not whole."""

import os
import tarfile
from io import BytesIO
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from lambent.core.errors import CallerFault, PayloadTooLarge
from lambent.storage.artifacts import FileArtifacts
from lambent.storage.artifacts_tar import HEADER_BYTES_MAX
from lambent.storage.artifacts_tree import checked_path
from lambent.storage.base import ArtifactFacts
from tests.support.tars import entry, tar_of, tar_of_entries

MIB = 1 << 20
FILES = {"app.py": b"x = 1\n" * 100, "lib/data.bin": bytes(range(256)) * 100}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def artifacts(folder: Path) -> FileArtifacts:
    return FileArtifacts.open(folder)


def ingest(artifacts: FileArtifacts, archive: bytes, *, size_bytes_max: int = 16 * MIB) -> ArtifactFacts:
    return artifacts.ingest_archive(BytesIO(archive), size_bytes_max=size_bytes_max)


def nothing_is_kept(folder: Path) -> bool:
    return not any(any((folder / part).iterdir()) for part in ("tmp", "artifacts"))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        pytest.param(entry("/etc/cron.d/x", b""), "'/etc/cron.d/x' is an absolute path", id="absolute"),
        pytest.param(entry("../x", b""), "'../x' leads out of the tree", id="parent"),
        pytest.param(entry("a/../../x", b""), "leads out of the tree", id="parent inside"),
        pytest.param(entry("a/..", kind=tarfile.DIRTYPE), "leads out of the tree", id="folder outside"),
        pytest.param(entry(".", b""), "'.' is the folder itself", id="the folder as a file"),
        pytest.param(entry("l", kind=tarfile.SYMTYPE, link="/etc"), "'l' is a symbolic link", id="symlink"),
        pytest.param(entry("l", kind=tarfile.LNKTYPE, link="app.py"), "'l' is a hard link", id="hard link"),
        pytest.param(entry("d", kind=tarfile.CHRTYPE), "'d' is a device", id="character device"),
        pytest.param(entry("d", kind=tarfile.BLKTYPE), "'d' is a device", id="block device"),
        pytest.param(entry("p", kind=tarfile.FIFOTYPE), "'p' is a pipe", id="pipe"),
        pytest.param(entry("z", kind=b"Z"), "'z' is not a plain file|cannot be read", id="unknown type"),
        pytest.param(entry("app.py", b"2"), "'app.py' occurs twice", id="twice"),
        pytest.param(
            entry("./lib//data.bin", b"2"), "'lib/data.bin' occurs twice", id="twice, written otherwise"
        ),
        pytest.param(entry("app.py/x", b"2"), "'app.py/x' occurs twice, or is both", id="below a file"),
        pytest.param(entry("lib", b"2"), "'lib' occurs twice, or is both", id="a file for a folder"),
        pytest.param(entry("bad\udcff.py", b""), "is not UTF-8", id="not UTF-8"),
        pytest.param(entry("n" * 256, b""), "is too long", id="long name"),
        pytest.param(entry("/".join(["deep"] * 300), b""), "is too long", id="long path"),
    ],
)
@pytest.mark.parametrize("compression", ["", "gz"])
def test_an_entry_that_is_no_file_inside_the_tree_is_refused_by_name(
    artifacts: FileArtifacts,
    folder: Path,
    bad: tuple[tarfile.TarInfo, bytes],
    says: str,
    compression: str,
) -> None:
    good = [entry(name, content) for name, content in FILES.items()]
    with pytest.raises(CallerFault, match=says):
        ingest(artifacts, tar_of_entries([*good, bad], compression=compression))
    assert nothing_is_kept(folder)


def test_a_link_is_not_written_through(artifacts: FileArtifacts, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    entries = [entry("way", kind=tarfile.SYMTYPE, link=str(outside)), entry("way/out", b"!")]
    with pytest.raises(CallerFault, match="'way' is a symbolic link"):
        ingest(artifacts, tar_of_entries(entries))
    assert list(outside.iterdir()) == []


def test_long_names_of_every_dialect_are_read(artifacts: FileArtifacts) -> None:
    name = "/".join(["ein-längerer-name"] * 30) + "/ende.py"
    for dialect in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        archive = BytesIO()
        with tarfile.open(fileobj=archive, mode="w", format=dialect) as file:
            info, content = entry(name, b"1")
            file.addfile(info, BytesIO(content))
        facts = ingest(artifacts, archive.getvalue())
        assert (artifacts.path(facts.digest) / name).read_bytes() == b"1"


def test_more_bytes_than_allowed_are_refused_before_they_are_unpacked(
    artifacts: FileArtifacts, folder: Path
) -> None:
    bomb = tar_of({"small": b"", "zeros.bin": bytes(8 * MIB)}, compression="gz")
    assert len(bomb) < 64 * 1024
    with pytest.raises(
        PayloadTooLarge, match=r"'zeros.bin' \(8388608 bytes\) it is over the limit of 1048576"
    ):
        ingest(artifacts, bomb, size_bytes_max=MIB)
    assert nothing_is_kept(folder)
    assert ingest(artifacts, bomb, size_bytes_max=8 * MIB).size_bytes == 8 * MIB


def test_too_many_files_are_refused(folder: Path) -> None:
    artifacts = FileArtifacts.open(folder, files_max=10)
    assert ingest(artifacts, tar_of({str(number): b"" for number in range(10)})).files == 10
    with pytest.raises(PayloadTooLarge, match="more than 10 files, '10' is one too many"):
        ingest(artifacts, tar_of({str(number): b"" for number in range(11)}))


def test_a_header_without_end_does_not_fill_the_memory(artifacts: FileArtifacts, folder: Path) -> None:
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", format=tarfile.PAX_FORMAT) as file:
        info, _ = entry("app.py")
        info.pax_headers = {"comment": "x" * (8 * HEADER_BYTES_MAX)}
        file.addfile(info)
    with pytest.raises(CallerFault, match=r"between two files|cannot be read"):
        ingest(artifacts, archive.getvalue())
    assert nothing_is_kept(folder)


def test_headers_that_announce_each_other_do_not_exhaust_the_stack(
    artifacts: FileArtifacts, folder: Path
) -> None:
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 0
    chain = header.tobuf(tarfile.USTAR_FORMAT) * 1500
    with pytest.raises(CallerFault):
        ingest(artifacts, chain + tar_of(FILES))
    assert nothing_is_kept(folder)


def test_a_sparse_file_is_refused(artifacts: FileArtifacts, folder: Path) -> None:
    info = tarfile.TarInfo("sparse.bin")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    with pytest.raises(CallerFault, match=r"'sparse.bin' is not a plain file|cannot be read"):
        ingest(artifacts, info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert nothing_is_kept(folder)


@pytest.mark.parametrize(
    "archive", [b"", b"\x1f\x8b", b"PK\x03\x04 a zip" * 100, b"x = 1\n", os.urandom(4096)]
)
def test_what_is_no_archive_is_refused(artifacts: FileArtifacts, folder: Path, archive: bytes) -> None:
    with pytest.raises(CallerFault, match="archive"):
        ingest(artifacts, archive)
    assert nothing_is_kept(folder)


@pytest.mark.parametrize("compression", ["", "gz"])
def test_an_archive_without_files_is_refused(
    artifacts: FileArtifacts, folder: Path, compression: str
) -> None:
    with pytest.raises(CallerFault, match="no files"):
        ingest(artifacts, tar_of({}, folders=("empty",), compression=compression))
    assert nothing_is_kept(folder)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_an_archive_that_was_cut_short_is_never_kept(
    artifacts: FileArtifacts, folder: Path, data: st.DataObject
) -> None:
    compression = data.draw(st.sampled_from(["", "gz"]))
    archive = tar_of(FILES, compression=compression)
    # Behind the last file there is only padding, of which less may come; gzip counts it too.
    content = len(archive) if compression else 512 * (2 + 2 + 50)
    cut = data.draw(st.integers(0, content - 1))
    with pytest.raises(CallerFault):
        ingest(artifacts, archive[:cut])
    assert nothing_is_kept(folder)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.data())
def test_a_damaged_archive_is_refused_or_read_and_nothing_else(
    artifacts: FileArtifacts, data: st.DataObject
) -> None:
    archive = bytearray(tar_of(FILES, compression=data.draw(st.sampled_from(["", "gz"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, min(len(archive), 3000) - 1))] = data.draw(st.integers(0, 255))
    try:
        facts = ingest(artifacts, bytes(archive))
    except CallerFault:
        return
    assert artifacts.verify(facts.digest) == ()


@given(st.text(max_size=40))
def test_a_checked_path_stays_inside_and_is_in_its_shortest_form(name: str) -> None:
    try:
        path = checked_path(name)
    except CallerFault:
        return
    assert Path("/tree", path).resolve().is_relative_to("/tree")
    assert checked_path(path) == path
    assert path == "" or Path(path).as_posix() == path
