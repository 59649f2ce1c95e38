"""Where the server is: told, in the environment, or in the file that a local server leaves."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from lambent.client.discovery import Endpoint, locate
from lambent.client.errors import NoServer
from lambent.core.errors import CallerFault

LOCAL_URL = "http://127.0.0.1:8700"


def server_file(state_dir: Path, **fields: object) -> Mapping[str, str]:
    told = {"url": LOCAL_URL, "pid": os.getpid(), "api_key": "lk_local", "grpc_url": "", **fields}
    (state_dir / "server.json").write_bytes(msgspec.json.encode(told))
    return {"LAMBENT_STATE_DIR": str(state_dir)}


def a_pid_that_has_gone() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_the_local_server_is_found_by_its_file(tmp_path: Path) -> None:
    environ = server_file(tmp_path)
    assert locate(environ=environ) == Endpoint(LOCAL_URL, "lk_local", str(tmp_path / "server.json"))


def test_the_file_is_looked_for_where_servers_keep_their_state(tmp_path: Path) -> None:
    (tmp_path / ".local/share/lambent").mkdir(parents=True)
    server_file(tmp_path / ".local/share/lambent")
    assert locate(environ={"HOME": str(tmp_path)}).url == LOCAL_URL


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        (("http://a:1/", "k"), {}, ("http://a:1", "k")),
        ((None, None), {"LAMBENT_URL": "http://b:2", "LAMBENT_API_KEY": "e"}, ("http://b:2", "e")),
        (("http://a:1", "k"), {"LAMBENT_URL": "http://b:2", "LAMBENT_API_KEY": "e"}, ("http://a:1", "k")),
        ((None, None), {"LAMBENT_API_KEY": "e"}, (LOCAL_URL, "e")),
        ((None, None), {"LAMBENT_URL": LOCAL_URL + "/"}, (LOCAL_URL, "lk_local")),
        (("http://a:1", None), {}, ("http://a:1", "")),
    ],
)
def test_what_is_told_goes_before_what_is_found(
    tmp_path: Path,
    arguments: tuple[str | None, str | None],
    variables: dict[str, str],
    expected: tuple[str, str],
) -> None:
    """The last case is the one that matters: the local key is not sent to a server elsewhere."""
    found = locate(*arguments, environ={**server_file(tmp_path), **variables})
    assert (found.url, found.api_key) == expected


def test_no_file_means_no_server(tmp_path: Path) -> None:
    with pytest.raises(
        NoServer, match=r"no server answers at http://127\.0\.0\.1:8700 .*; start one with: lambent up"
    ):
        locate(environ={"LAMBENT_STATE_DIR": str(tmp_path)})


def test_a_file_whose_server_has_gone_is_not_believed(tmp_path: Path) -> None:
    pid = a_pid_that_has_gone()
    with pytest.raises(
        NoServer, match=rf"no server answers at .* \(its process {pid} has gone\); start one with"
    ):
        locate(environ=server_file(tmp_path, pid=pid))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"url": 1}', b"\xff"])
def test_a_file_that_is_torn_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "server.json").write_bytes(text)
    with pytest.raises(CallerFault, match=r"cannot read .*server\.json"):
        locate(environ={"LAMBENT_STATE_DIR": str(tmp_path)})
