"""The doctor says what it sees, with a server and without one."""

import json
from pathlib import Path

import pytest

from lambent.wire.api import CheckView, Problem
from tests.support.fake_control import FakeControl, json_told, problem_told
from tests.unit.cli.conftest import Lambent


def states(out: str) -> dict[str, str]:
    return {check["name"]: check["state"] for check in json.loads(out)}


def test_without_a_server_the_machine_is_looked_at(lambent: Lambent) -> None:
    printed = lambent("doctor", "--json")
    assert printed.code == 0
    seen = states(printed.out)
    assert {
        "python",
        "system",
        "memory",
        "cgroup",
        "state directory",
        "onnxruntime",
        "tensorflow",
    } <= set(seen)
    assert (seen["python"], seen["server"]) == ("ok", "degraded")
    assert "start one with: lambent up" in printed.out


def test_what_the_server_sees_of_itself_is_added(control: FakeControl, lambent: Lambent) -> None:
    control.tell("GET", "/api/v1/doctor", json_told([CheckView("memory", "degraded", "90 % used")]))
    seen = states(lambent("doctor", "--json").out)
    assert (seen["server"], seen["server: memory"]) == ("ok", "degraded")


@pytest.mark.parametrize(
    "answer",
    [
        json_told([CheckView("disk", "failed", "full")]),
        problem_told(Problem("Forbidden", 403, "forbidden", "the key may not look")),
    ],
)
def test_a_check_that_failed_fails_the_command(
    control: FakeControl, lambent: Lambent, answer: object
) -> None:
    control.tell("GET", "/api/v1/doctor", answer)  # type: ignore[arg-type]  # a Told from the table above
    assert lambent("doctor").code == 1


def test_people_get_a_line_for_each_check(lambent: Lambent) -> None:
    lines = lambent("doctor").out.splitlines()
    assert lines[0].startswith("ok        python ")
    assert len(lines) >= 9


def test_a_state_directory_that_cannot_be_made_is_a_failure(
    lambent: Lambent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMBENT_STATE_DIR", "/proc/lambent")
    printed = lambent("doctor", "--json")
    assert states(printed.out)["state directory"] in {"failed", "degraded"}
