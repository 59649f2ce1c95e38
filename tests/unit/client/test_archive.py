"""The same files make the same bytes, and any tar reads them."""

import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.client.archive import CHUNK_BYTES, Archive, member
from lambent.client.errors import BundleError
from tests.support.rights import GIVE_UP_RIGHTS


def packed(archive: Archive) -> bytes:
    return b"".join(archive.chunks())


def archive_of(root: Path, *names: str) -> Archive:
    return Archive(member(name, root / name) for name in names)


def test_time_owner_order_and_permissions_do_not_count(tmp_path: Path) -> None:
    digests = set()
    for mode, order in ((0o644, ("a.py", "b.py")), (0o600, ("b.py", "a.py"))):
        for name in ("a.py", "b.py"):
            (tmp_path / name).write_text(name)
            (tmp_path / name).chmod(mode)
            os.utime(tmp_path / name, (mode, mode))
        digests.add(hashlib.sha256(packed(archive_of(tmp_path, *order))).hexdigest())
    assert len(digests) == 1


def test_the_execute_bit_counts(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    plain = packed(archive_of(tmp_path, "tool"))
    (tmp_path / "tool").chmod(0o755)
    assert packed(archive_of(tmp_path, "tool")) != plain


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=120).filter(
            lambda name: name not in (".", "..") and len(name.encode()) < 250
        ),
        st.binary(max_size=1500),
        max_size=4,
    )
)
def test_any_tar_reads_what_was_packed(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    root = tmp_path_factory.mktemp("files")
    for name, content in files.items():
        (root / name).write_bytes(content)
    archive = archive_of(root, *files)
    data = packed(archive)
    assert len(data) == archive.size_bytes
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        read = {entry.name: file.read() for entry in tar if (file := tar.extractfile(entry))}
    assert read == files


def test_a_large_file_comes_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "weights.onnx").write_bytes(bytes(3 * CHUNK_BYTES + 1))
    sizes = [len(chunk) for chunk in archive_of(tmp_path, "weights.onnx").chunks()]
    assert max(sizes) == CHUNK_BYTES


@pytest.mark.parametrize("content", ["shorter", "longer than it was before"])
def test_a_file_that_changes_while_it_is_read_is_not_sent_as_it_is(tmp_path: Path, content: str) -> None:
    (tmp_path / "app.py").write_text("as it was first")
    archive = archive_of(tmp_path, "app.py")
    (tmp_path / "app.py").write_text(content)
    with pytest.raises(BundleError, match=r"app\.py changed while it was being read"):
        packed(archive)


def test_a_file_that_goes_while_it_is_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("")
    archive = archive_of(tmp_path, "app.py")
    (tmp_path / "app.py").unlink()
    with pytest.raises(BundleError, match=r"cannot read .*app\.py: No such file"):
        packed(archive)


def test_a_name_that_is_not_text_is_refused(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.py")
    (tmp_path / name).write_text("")
    with pytest.raises(BundleError, match="not UTF-8"):
        archive_of(tmp_path, name)


def test_a_file_that_may_not_be_read_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "app.py").touch(mode=0)
    refused = (
        f"{GIVE_UP_RIGHTS}\n"
        "import sys\n"
        "from pathlib import Path\n"
        "from lambent.client.archive import Archive, member\n"
        "from lambent.client.errors import BundleError\n"
        "try: Archive([member('app.py', Path(sys.argv[1]) / 'app.py')])\n"
        "except BundleError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", refused, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert re.search(r"cannot read .*app\.py: Permission denied", done.stdout), done.stdout + done.stderr
