"""Tar archives, good and bad, as bytes."""

import tarfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Literal


def tar_of(
    files: Mapping[str, bytes],
    *,
    compression: str = "",
    executable: tuple[str, ...] = (),
    folders: tuple[str, ...] = (),
    mode: int = 0o644,
) -> bytes:
    """An archive of these files; `compression` is "gz" or nothing."""
    entries = [entry(name, kind=tarfile.DIRTYPE) for name in folders]
    for name, content in files.items():
        entries.append(entry(name, content, mode=mode | 0o111 if name in executable else mode))
    return tar_of_entries(entries, compression=compression)


def entry(
    name: str, content: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644
) -> tuple[tarfile.TarInfo, bytes]:
    """One entry of any kind, as no sane program would write it."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    info.size = len(content) if kind in (tarfile.REGTYPE, tarfile.AREGTYPE) else 0
    return info, content


def tar_of_entries(entries: Iterable[tuple[tarfile.TarInfo, bytes]], *, compression: str = "") -> bytes:
    """An archive of these entries, in this order."""
    archive = BytesIO()
    mode: Literal["w:gz", "w"] = "w:gz" if compression == "gz" else "w"
    with tarfile.open(fileobj=archive, mode=mode, errors="surrogateescape") as file:
        for info, content in entries:
            file.addfile(info, BytesIO(content))
    return archive.getvalue()
