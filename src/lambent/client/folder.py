"""The files of a folder that are worth deploying, and the `lambent.toml` that says which."""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from lambent.client.errors import BundleError
from lambent.core.errors import InvalidSpec
from lambent.core.settings import check_settings
from lambent.core.spec import Setting
from lambent.wire.typed import from_fields

MANIFEST: Final = "lambent.toml"
ENDPOINT_HANDLER: Final = "handler.py:EndpointHandler"
DEFINED: Final = re.compile(
    r"^\s*(?:class\s+EndpointHandler\b|EndpointHandler\s*=|from\s[^#\n]+\simport\s[^#\n]*\bEndpointHandler\b)",
    re.MULTILINE,
)
NEVER_OF_PROGRAMS: Final = (".*", "__pycache__", "*.pyc")  # theirs may be Node's
NEVER: Final = (*NEVER_OF_PROGRAMS, "node_modules")


class AppTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[app]`: what to deploy, and globs of the files that go along.

    Without a target all of it goes, for deployments that are commands.
    """

    target: str = ""
    include: tuple[str, ...] = ("**",)
    exclude: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `lambent.toml`. `deployments` holds settings by the name of a deployment."""

    app: AppTable = AppTable()
    deployments: dict[str, dict[str, Setting | dict[str, Setting]]] = {}


def read_manifest(folder: Path) -> Manifest:
    """The folder's `lambent.toml`, checked. Raises `BundleError` that says what is wrong where."""
    file = folder / MANIFEST
    try:
        read = from_fields(tomllib.loads(file.read_text("utf-8")), Manifest)
    except FileNotFoundError as error:
        if _has_endpoint_handler(folder):
            return Manifest(AppTable(ENDPOINT_HANDLER))
        raise BundleError(
            f'{folder} has no {MANIFEST}: write one with [app] and target = "app.py"; nor has it a '
            "handler.py with a class EndpointHandler"
        ) from error
    except OSError as error:
        raise BundleError(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise BundleError(f"{file} is not right: {error}") from error
    for name, settings in read.deployments.items():
        try:
            check_settings(name, flat(settings))
        except InvalidSpec as error:
            raise BundleError(f"{file} is not right: [deployments.{name}] {error}") from error
    return read


def _has_endpoint_handler(folder: Path) -> bool:
    """Whether it is laid out as a repository of Hugging Face's with a custom handler."""
    try:
        return DEFINED.search((folder / "handler.py").read_text("utf-8", "replace")) is not None
    except OSError:
        return False


def flat(settings: dict[str, Setting | dict[str, Setting]]) -> dict[str, Setting]:
    """Settings with `env = {A = "1"}` written as `env.A`. Raises `InvalidSpec` for any other table."""
    flattened: dict[str, Setting] = {}
    for key, value in settings.items():
        if not isinstance(value, dict):
            flattened[key] = value
        elif key == "env":
            flattened.update((f"env.{name}", text) for name, text in value.items())
        else:
            raise InvalidSpec(f"{key} is a table: only env is one")
    return flattened


def scan(
    folder: Path,
    root: Path,
    include: Sequence[str] = ("**",),
    exclude: Sequence[str] = (),
    *,
    never: Sequence[str] = NEVER,
) -> Iterator[tuple[str, Path]]:
    """The files under `folder` by their path relative to `root`, which holds it.

    A pattern without a slash matches a name at any depth; one that matches a folder covers all in it. What
    `never` names, such as hidden files and bytecode, does not go along. Links inside `root` are followed.
    Raises `BundleError` for a link out of it, a link in a circle and what is neither a file nor a folder.
    """
    wanted, unwanted = _matcher(include), _matcher((*never, *exclude))
    yield from _walk(folder, root, wanted, unwanted, above=())


def _walk(
    folder: Path,
    root: Path,
    wanted: re.Pattern[str],
    unwanted: re.Pattern[str],
    above: tuple[Path, ...],
) -> Iterator[tuple[str, Path]]:
    real = within(folder, root)
    if real in above:
        raise BundleError(f"{folder} is a link to a folder that it is in: leave it out with exclude")
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise BundleError(f"cannot read {folder}: {error.strerror}") from error
    for entry in entries:
        path = entry.relative_to(root).as_posix()
        if unwanted.fullmatch(path):
            continue
        if entry.is_dir():
            yield from _walk(entry, root, wanted, unwanted, (*above, real))
        elif wanted.fullmatch(path):
            yield path, _regular(within(entry, root))


def within(path: Path, root: Path) -> Path:
    """What `path` is, through its links. Raises `BundleError` where that is outside `root` or nothing."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        what = "a link to nothing" if path.is_symlink() else "not there"
        raise BundleError(f"{path} is {what}") from error
    if not real.is_relative_to(root.resolve()):
        raise BundleError(
            f"{path} is a link that leaves {root}: copy the file in or leave it out with exclude"
        )
    return real


def _regular(path: Path) -> Path:
    if not stat.S_ISREG(path.stat().st_mode):
        raise BundleError(f"{path} is neither a file nor a folder: leave it out with exclude")
    return path


def _matcher(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(_regex, patterns)) or r"(?!)")


def _regex(pattern: str) -> str:
    """A glob as a regular expression over whole paths: `*` stays within a name, `**` crosses slashes."""
    anywhere = "" if "/" in pattern.rstrip("/") else r"(?:.*/)?"
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.strip("/"))
    table = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return anywhere + "".join(table.get(piece, re.escape(piece)) for piece in pieces) + "(?:/.*)?"
