"""Files that a job keeps with its run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

SAVED: Final = "artifacts"  # in the work folder, where the server gives no other


class SavedFiles:
    """Below a folder that is made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder

    def folder(self) -> Path:
        """Where they are."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def save(self, path: Path, content: bytes | str | None) -> Path:
        """Keep `content` under the name `path`, or a copy of the file or folder there under its last part.

        Under its name it is whole or as it was before. Raises `OSError`, and `ValueError` for a name that
        leads out of the folder.
        """
        name = Path(path.name) if content is None else path
        if not name.parts or name.is_absolute() or ".." in name.parts:
            raise ValueError(f"{os.fspath(path)!r} is no name for a file: it leads out of run.artifacts_dir")
        target = self.folder() / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if content is None and path.is_dir():
            return Path(shutil.copytree(path, target, dirs_exist_ok=True))
        unfinished = target.with_name(f".{target.name}.new")
        try:
            if content is None:
                shutil.copyfile(path, unfinished)
            else:
                unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
        return target
