"""Equal files of tensors in several trees: one file on the disk, and one in memory for all who map it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from lambent.storage.artifacts_tree import Entry
from lambent.wire.datasets import SEALED_NS

# No other kind of file: a model's fine-tunes have most of their tensors in common and little else, and the
# package `onnx` refuses to read external data that has several hard links.
SUFFIX: Final = ".safetensors"
SIZE_BYTES_MIN: Final = 64 << 10  # below this a link costs as much as it saves
# The file system takes no more links to that file, or none at all: the tree keeps its own copy.
NO_LINK: Final = frozenset({errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV})


class SharedTensors:
    """One link to each file of tensors that trees share, by digest. Files are read-only and never change."""

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder

    def open(self) -> None:
        """Make the folder, and forget files that no tree has any more."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for known in self._folder.iterdir():
            if known.stat().st_nlink == 1:
                known.unlink()

    def share(self, path: Path, entry: Entry) -> None:
        """Let a file of a tree that is not sealed yet be the one that trees before it have."""
        if not path.name.endswith(SUFFIX) or entry.size_bytes < SIZE_BYTES_MIN or entry.executable:
            return
        known = self._folder / entry.sha256
        if not _as_it_was(known, entry):
            known.unlink(missing_ok=True)  # those who have it keep it; nobody else gets it
        beside = path.with_name(f"{entry.sha256[:16]}.link")
        try:
            os.link(known, beside)
        except FileNotFoundError:
            self._remember(path, known)
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
        else:
            beside.replace(path)

    def _remember(self, path: Path, known: Path) -> None:
        try:
            os.link(path, known)
        except FileExistsError:
            return  # another thread has just kept the same
        except OSError as error:
            if error.errno not in NO_LINK:
                raise


def _as_it_was(known: Path, entry: Entry) -> bool:
    try:
        now = known.stat()
    except FileNotFoundError:
        return False
    return (now.st_size, now.st_mtime_ns) == (entry.size_bytes, SEALED_NS)
