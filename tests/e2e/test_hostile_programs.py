"""Programs that misuse AWS Lambda's Runtime API: each gets a clear answer, and so does who invoked it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bootstraps import write_bootstrap
from tests.support.server import RunningServer


@pytest.fixture(scope="module")
def actor(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = write_bootstrap(tmp_path_factory.mktemp("programs") / "actor")
    server.deploy(folder, "--set", "timeout_s=20")
    return folder


def do(server: RunningServer, what: str, **more: Any) -> tuple[int, Any]:
    reply = server.invoke("actor", {"do": what, **more})
    return reply.status, reply.json()


@pytest.mark.parametrize(
    ("what", "heard"),
    [
        ("wrong_id", [400, "InvalidRequestID"]),
        ("twice", "first"),
        ("poll_again", [403, "InvalidStateTransition"]),
        ("paths", [404, 404, 405, 405, 404, 405, 404, 400, 403, 403, 403]),
        ("garbage", ["HTTP/1.1 400 Bad Request", "HTTP/1.1 400 Bad Request"]),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    server: RunningServer, actor: Path, what: str, heard: object
) -> None:
    pid = do(server, "echo")[1]["pid"]
    assert do(server, what) == (200, heard)
    assert do(server, "echo")[1]["pid"] == pid


@pytest.mark.parametrize("what", ["half_body", "half_error"])
def test_an_answer_that_breaks_off_ends_its_invocation(server: RunningServer, actor: Path, what: str) -> None:
    status, document = do(server, what)
    assert (status, document["error_type"]) == (500, "Runtime.TruncatedResponse")
    assert do(server, "echo")[0] == 200
