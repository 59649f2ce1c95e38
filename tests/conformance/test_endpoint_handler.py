"""A repository with a custom handler of Hugging Face's is deployed as the folder that it is."""

from __future__ import annotations

from pathlib import Path

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
