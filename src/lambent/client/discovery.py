"""Where the server is and which key opens it: told, in the environment, or in the file that it leaves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from lambent.client.errors import NoServer
from lambent.core.errors import CallerFault
from lambent.settings import SERVER_FILE, default_state_dir
from lambent.wire.api import ServerFile
from lambent.wire.typed import from_json

DEFAULT_URL: Final = "http://127.0.0.1:8700"


class Endpoint(msgspec.Struct, frozen=True):
    """Where to send requests. `origin` says who told, for messages."""

    url: str
    api_key: str
    origin: str


def locate(
    url: str | None = None, api_key: str | None = None, environ: Mapping[str, str] = os.environ
) -> Endpoint:
    """The server's URL and key: the arguments, else `LAMBENT_URL` and `LAMBENT_API_KEY`, else `server.json`.

    A URL without a key takes the key of a local server that has this very URL. Raises `NoServer` where the
    file's server has gone or there is neither a file nor a URL, `CallerFault` where the file cannot be read.
    """
    url = url or environ.get("LAMBENT_URL") or ""
    api_key = api_key or environ.get("LAMBENT_API_KEY") or ""
    if url and api_key:
        return Endpoint(url.rstrip("/"), api_key, "told")
    file = default_state_dir(environ).expanduser() / SERVER_FILE
    local = read_server_file(file)
    if url:
        same = local is not None and local.url.rstrip("/") == url.rstrip("/")
        return Endpoint(url.rstrip("/"), local.api_key if local and same else "", "told")
    if local is None:
        raise no_server(DEFAULT_URL, f"there is no {file}")
    # A port outlives its process: another program may have it now, and must not be shown the key.
    if not _alive(local.pid):
        raise no_server(local.url, f"its process {local.pid} has gone")
    return Endpoint(local.url.rstrip("/"), api_key or local.api_key, str(file))


def read_server_file(file: Path) -> ServerFile | None:
    """The file's content, None where there is no file. Raises `CallerFault` where it cannot be read."""
    try:
        return from_json(file.read_bytes(), ServerFile)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CallerFault(f"cannot read {file}: {error}") from error


def no_server(url: str, why: str = "") -> NoServer:
    """The one line that everybody sees who has no server."""
    because = f" ({why})" if why else ""
    return NoServer(f"no server answers at {url}{because}; start one with: lambent up")


def _alive(pid: int) -> bool:
    if pid <= 0:
        return True  # not told: whether it answers is found out by asking
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
