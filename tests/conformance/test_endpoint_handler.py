"""A repository with a custom handler of Hugging Face's is deployed as the folder that it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.raw_http import Raw
from tests.support.server import RunningServer

HANDLER = """
from pathlib import Path
from typing import Any, Dict, List


class EndpointHandler:
    def __init__(self, path=""):
        self.words = Path(path, "words.txt").read_text().split()

    def __call__(self, data: Dict[str, Any]) -> List[Dict[str, Any]]:
        inputs = data.pop("inputs", data)
        parameters = data.pop("parameters", {})
        if isinstance(inputs, bytes):
            return [{"bytes": len(inputs)}]
        found = [word for word in self.words if word in inputs]
        return [{"label": word} for word in found[: parameters.get("top_k", 1)]]
"""


def test_a_folder_with_a_handler_is_a_model(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text(HANDLER)
    (tmp_path / "words.txt").write_text("good bad")
    server.deploy(tmp_path, "--name", "judge")
    assert server.invoke("judge", {"inputs": "good or bad"}).json() == [{"label": "good"}]
    told = server.invoke("judge", {"inputs": "good or bad", "parameters": {"top_k": 2}}).json()
    assert told == [{"label": "good"}, {"label": "bad"}]
    picture = server.request("POST", "/invoke/judge", b"\x89PNG", Content_Type="image/png")
    assert picture.json() == [{"bytes": 4}]


def test_a_handler_that_cannot_load_is_told_at_the_deploy(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text(HANDLER)
    done = server.cli("deploy", str(tmp_path), "--name", "broken")
    assert done.returncode != 0
    assert "words.txt" in done.stderr


@pytest.mark.parametrize(
    ("files", "told"),
    [
        pytest.param({}, "nor has it a handler.py with a class EndpointHandler", id="no handler"),
        pytest.param(
            {"handler.py": "def EndpointHandler(path): ..."}, "nor has it a handler.py", id="no class"
        ),
        pytest.param(
            {"handler.py": "class EndpointHandler:\n    x = 1"}, "__call__(self, data)", id="no call"
        ),
        pytest.param(
            {"handler.py": "class EndpointHandler:\n    def __call__(self, data): ..."},
            "EndpointHandler(path)", id="takes no path",
        ),
        pytest.param(
            {"handler.py": "class EndpointHandler:\n    def __init__(self, path, device): ...\n"
                           "    def __call__(self, data): ..."},
            "'device'", id="takes more",
        ),
        pytest.param(
            {"handler.py": "class EndpointHandler:\n    def __init__(self, path): ...\n"
                           "    def __call__(self): ..."},
            'called with one argument, {"inputs": ...}', id="takes no data",
        ),
        pytest.param(
            {"handler.py": "import no_such_package\n" + HANDLER,
             "requirements.txt": "# for pictures\nno-such-package==1.0\n"},
            "no-such-package==1.0 (not installed)", id="requirements",
        ),
        pytest.param({"handler.py": "class EndpointHandler(:"}, "handler.py:1: invalid syntax", id="syntax"),
        pytest.param({"handler.py": b"class EndpointHandler:\xff\0"}, "null bytes", id="no text"),
    ],
)  # fmt: skip
def test_what_is_no_such_repository_is_told_at_the_deploy(
    server: RunningServer, tmp_path: Path, files: dict[str, str | bytes], told: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    done = server.cli("deploy", str(tmp_path), "--name", "refused")
    assert (done.returncode, told in done.stderr) == (1, True), done.stderr
    assert server.request("POST", "/invoke/refused", b"{}").status == 404


@pytest.mark.parametrize(
    "code",
    [
        "from base import Base\nclass EndpointHandler(Base): ...",
        "from base import Base\nEndpointHandler = Base",
        "from base import Base as EndpointHandler",
    ],
    ids=["a subclass", "another name", "an import"],
)
def test_a_handler_may_come_from_another_file(server: RunningServer, tmp_path: Path, code: str) -> None:
    (tmp_path / "base.py").write_text(
        "class Base:\n    def __init__(self, path=''): ...\n"
        "    def __call__(self, data): return data['inputs']\n"
    )
    (tmp_path / "handler.py").write_text(code)
    server.deploy(tmp_path, "--name", "elsewhere")
    assert server.invoke("elsewhere", {"inputs": "here"}).json() == "here"


SHOWN = """
class EndpointHandler:
    def __init__(self, path=""):
        self.path = path

    def __call__(self, data):
        inputs = data["inputs"] if set(data) == {"inputs"} else dict(data)
        return inputs.hex() if isinstance(inputs, bytes) else {"given": inputs}
"""


@pytest.fixture(scope="module")
def shown(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("shown")
    (folder / "handler.py").write_text(SHOWN)
    server.deploy(folder, "--name", "shown")
    return server


def test_a_body_over_the_limit_or_half_sent_harms_nobody(shown: RunningServer) -> None:
    with Raw(shown) as raw:
        raw.head("POST", "/invoke/shown", "Content-Length: 100000000000")
        assert raw.answered()[0] == 413
    for _ in range(3):
        with Raw(shown) as raw:
            raw.head("POST", "/invoke/shown", "Content-Length: 1000", "Content-Type: application/json")
            raw.socket.sendall(b'{"inputs": "go')
    assert shown.invoke("shown", {"inputs": 1}).json() == {"given": 1}


NUMBERS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    NUMBERS | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["inputs", "parameters", "top_k", ""]), inner, max_size=3)
    ),
    max_leaves=8,
)
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(value=VALUES)
def test_any_json_reaches_a_handler_as_the_object_that_it_expects(shown: RunningServer, value: Any) -> None:
    given_ = value["inputs"] if isinstance(value, dict) and set(value) == {"inputs"} else value
    answer = shown.request(
        "POST", "/invoke/shown", json.dumps(value).encode(), Content_Type="application/json"
    )
    assert (answer.status, answer.json()) == (200, {"given": given_}), value


@FUZZ
@given(
    body=st.binary(max_size=20) | st.just(b'{"inputs": '),
    content_type=st.sampled_from(
        [
            "application/json",
            "text/plain",
            "image/png",
            "audio/x-flac",
            "application/octet-stream",
            "",
            ";",
            "x",
        ]
    ),
)
def test_any_body_is_given_to_a_handler_or_is_its_senders_fault(
    shown: RunningServer, body: bytes, content_type: str
) -> None:
    answer = shown.request("POST", "/invoke/shown", body, Content_Type=content_type)
    assert answer.status in (200, 400), answer.body
    if content_type in ("image/png", "audio/x-flac", "application/octet-stream"):
        assert answer.json() == body.hex()
    if answer.status == 400:
        assert answer.json()["code"] == "invalid_request"
