"""What lies in a model archive, before it is loaded: its program, what that imports, and what it requires."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

from lambent.core.spec import Interface, Kind
from lambent.runtimes.bundle_imports import installed_imports
from lambent.runtimes.faults import Fault
from lambent.wire.api import Declaration
from lambent.wire.model_archive import CODE, PROGRAM, REQUIREMENTS, module_of, program_of
from lambent.wire.oneshot import Description

NAME: Final = "model"  # where nobody says another
LACKING_SHOWN_MAX: Final = 10


def described(folder: Path, env: Mapping[str, str]) -> Description:
    """The one model of an archive. Raises `Fault` where its program or what it requires is not there."""
    program = program_of(env)
    if not program or not (folder / program).is_file():
        raise Fault(
            "Runtime.ImportModuleError",
            f"the archive has no {program or CODE + '/' + env.get(PROGRAM, '')!r}; {PROGRAM} names another",
        )
    check_requirements(folder / CODE / REQUIREMENTS, f"{CODE}/{REQUIREMENTS}")
    model = Declaration(
        name=NAME, kind=Kind.MODEL, entrypoint=f"{module_of(env)}:model_fn", interface=Interface.SAGEMAKER
    )
    return Description((model,), installed_imports(folder / CODE, folder / program))


def check_requirements(file: Path, called: str) -> None:
    """Other servers install them as they start. Here what is asked for must be there already.

    Raises `Fault` that names what is not there, and the file as `called`.
    """
    if not file.is_file():
        return
    lacking = list(_lacking(file.read_text("utf-8", "replace")))
    if lacking:
        shown = "; ".join(lacking[:LACKING_SHOWN_MAX])
        more = f" and {len(lacking) - LACKING_SHOWN_MAX} more" if len(lacking) > LACKING_SHOWN_MAX else ""
        raise Fault(
            "Lambent.MissingPackages",
            f"{called} asks for what {sys.executable} does not have: {shown}{more}. "
            f"Nothing is installed by a deploy: run `{sys.executable} -m pip install -r {REQUIREMENTS}` "
            "and deploy again, or take the lines out that are not needed",
        )


def _lacking(text: str) -> Iterator[str]:
    from packaging.requirements import InvalidRequirement, Requirement  # for archives with such a file alone

    for line in text.replace("\\\n", " ").splitlines():
        # A comment begins at the line's start or after a space; `--hash` and its like belong to pip.
        wanted = line.split(" #")[0].split(" --")[0].strip()
        if not wanted or wanted.startswith(("#", "--index-url", "--extra-index-url", "-i ", "-f ")):
            continue
        try:
            requirement = Requirement(wanted)
        except InvalidRequirement:
            yield f"{wanted!r}, which only pip can read"
            continue
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            there = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"{wanted} (not installed)"
            continue
        if not requirement.specifier.contains(there, prereleases=True):
            yield f"{wanted} ({there} is installed)"
