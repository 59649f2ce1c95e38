"""Whether the files that deployments need are as they were kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lambent.core.errors import LambentError
from lambent.core.spec import MIB
from lambent.storage.artifacts import FileArtifacts
from lambent.storage.base import Deployments

# Read again and compared in full, smallest first, in a few seconds; the rest is judged by size and time.
READ_BYTES_MAX: Final = 2048 * MIB
TOLD_MAX: Final = 5


def check_files(artifacts: FileArtifacts, *folders: str) -> None:
    """Raise `StorageBroken` where artifacts, by their folders, are not as they were kept. Reads no contents.

    An empty name is no artifact.
    """
    for folder in filter(None, folders):
        artifacts.check(Path(folder).name)


def damage(deployments: Deployments, artifacts: FileArtifacts) -> str:
    """A sentence for each artifact in use that is damaged, with the deployment; empty if all are whole."""
    found: list[str] = []
    left_bytes = READ_BYTES_MAX
    for digest, name in sorted(_in_use(deployments).items(), key=lambda one: _size_bytes(artifacts, one[0])):
        try:
            artifacts.check(digest)
            left_bytes -= _size_bytes(artifacts, digest)
            changed = artifacts.verify(digest) if left_bytes >= 0 else ()
        except LambentError as error:
            found.append(f"{name}: {error.message}")
            continue
        if changed:
            found.append(f"{name}: {changed[0]} on the server's disk: deploy it again")
    more = [f"and {len(found) - TOLD_MAX} more"] if len(found) > TOLD_MAX else []
    return "; ".join([*found[:TOLD_MAX], *more])


def _in_use(deployments: Deployments) -> Mapping[str, str]:
    """The digests of what answers now, each with a deployment that has it."""
    used: dict[str, str] = {}
    for deployment in deployments.all():
        revision = deployments.revision(deployment.active_revision)
        digests = revision.code_digest, revision.model_digest
        used |= {digest: deployment.name for digest in digests if digest}
    return used


def _size_bytes(artifacts: FileArtifacts, digest: str) -> int:
    try:
        return artifacts.size_bytes(digest)
    except LambentError:
        return 0
