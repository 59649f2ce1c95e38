"""Any policy serves, says that it does, and knows after a restart what it knew before."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from tests.support.models import linear
from tests.support.server import RunningServer, wait_until

CALLS = 8
PERIOD_S = 1.0


def shown(server: RunningServer, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.cli("show", name, "--json").stdout)
    return found


def budget(server: RunningServer) -> str:
    checks = {one["name"]: one for one in json.loads(server.cli("doctor", "--json").stdout)}
    detail: str = checks["server: budget"]["detail"]
    return detail


def test_a_policy_is_chosen_shown_and_remembers_over_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state"
    server = RunningServer(state, {"LAMBENT_KEEP_POLICY": "hybrid"}).start()
    try:
        server.deploy(linear(tmp_path / "m.onnx", inputs=4, outputs=2), "--set", "keep_alive_s=1")
        event = {"instances": [[1.0, 0.0, 0.0, 0.0]]}
        pause = threading.Event()
        for _ in range(CALLS):
            assert server.invoke("m", event).status == 200
            pause.wait(PERIOD_S)
        wait_until(lambda: shown(server, "m")["kept_because"], "the first plan")
        assert shown(server, "m")["keep_policy"] == "hybrid"
        assert "keep policy hybrid" in budget(server)
        assert "keep policy" in server.cli("show", "m").stdout
    finally:
        assert server.stop() == 0, server.log()

    learned = state / "learned.jsonl"
    assert json.loads(learned.read_text().splitlines()[1])["name"] == "m"
    server = RunningServer(state, {"LAMBENT_KEEP_POLICY": "hybrid"}).start()
    try:
        # Nobody has called: it is loaded because of what was known before.
        wait_until(lambda: server.deployment("m")["temperature"] == "primed", "it to be primed")
    finally:
        assert server.stop() == 0, server.log()
    for policy in ("gdsf", "fixed"):
        server = RunningServer(state, {"LAMBENT_KEEP_POLICY": policy}).start()
        try:
            assert server.invoke("m", event).status == 200
            assert f"keep policy {policy}" in budget(server)
        finally:
            assert server.stop() == 0, server.log()
    assert "learned_ignored" not in server.log()

    learned.write_bytes(learned.read_bytes()[:50])
    server = RunningServer(state).start()
    try:
        assert server.invoke("m", event).status == 200
        assert "keep policy economic" in budget(server)
    finally:
        assert server.stop() == 0, server.log()
    assert server.log().count("learned_ignored") == 1


def test_an_unknown_policy_is_refused_before_anything_starts(tmp_path: Path) -> None:
    server = RunningServer(tmp_path / "state")
    done = server.cli("up", "--keep-policy", "lru")
    assert done.returncode != 0
    assert "'economic', 'fixed', 'hybrid', 'gdsf'" in done.stderr
