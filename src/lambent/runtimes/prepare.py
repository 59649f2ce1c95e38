"""The prepare runtime: makes the files of a model ready to be served, in a process that may be lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import msgspec

from lambent.runtimes import payload
from lambent.runtimes.base import Line, Loading, Reply, Request
from lambent.runtimes.faults import Fault
from lambent.wire.oneshot import PrepareCall, Prepared
from lambent.wire.process import RevisionPlan


class Preparation:
    """One folder of files to prepare."""

    def __init__(self, plan: RevisionPlan) -> None:
        self._plan: Final = plan

    def __call__(self, request: Request, _: Line, /) -> Reply:
        """Prepare `plan.work_dir`. Raises `BadModel` where a model file cannot be served."""
        asked = payload.asked(request.body, PrepareCall)
        folder = Path(self._plan.work_dir)
        if self._plan.model_dir and Path(self._plan.model_dir) != folder:
            _copy(Path(self._plan.model_dir), folder)
        return Reply(msgspec.json.encode(prepared(folder, asked.file)))


def load(plan: RevisionPlan, _: Loading) -> Preparation:
    """Nothing to load: frameworks are imported when the files tell which."""
    if not plan.work_dir:
        raise Fault("Runtime.InvalidPlan", "nothing can be prepared: the plan has no work_dir")
    return Preparation(plan)


def prepared(folder: Path, file: str = "") -> Prepared:
    """Prepare what is in `folder`, in place. Raises `BadModel`."""
    if not any(folder.iterdir()):
        return Prepared(None, 0)  # adapters speak numpy, which takes a tenth of a second to import
    from lambent.runtimes.adapters import files

    serving = files.prepare(folder, file)
    return Prepared(serving, files.count_files(folder))


def _copy(source: Path, target: Path) -> None:
    """Copy files without their modes: an artifact is read-only, its copy is written to."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
