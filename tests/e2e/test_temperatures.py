"""What a user sees of temperatures and wakes, as typed, against a real server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer

Write = Callable[[str, str], Path]
HELLO = "def handler(event, context):\n    return {'hello': event}\n"
THREAD = (
    "import threading\n"
    "threading.Thread(target=threading.Event().wait, daemon=True, name='refresher').start()\n" + HELLO
)
MANY = 100
MANY_DEPLOYMENTS = (
    "import lambent\napp = lambent.App('many')\n"
    "def declare(number):\n"
    "    def one(event, context):\n        return number\n"
    "    one.__name__ = one.__qualname__ = f'f{number}'\n"
    "    globals()[f'f{number}'] = one\n"
    "    app.function(name=f'f{number}')(one)\n"
    f"for number in range({MANY}):\n    declare(number)\n"
)


def shown(server: RunningServer, name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(server.cli("show", name, "--wakes", "--json").stdout)
    return told


def listed(server: RunningServer, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(server.cli("ls", "--json").stdout)
    return next(one for one in found if one["name"] == name)


def test_the_anatomy_of_a_cold_start_is_shown_in_a_table_and_in_json(
    server: RunningServer, write: Write
) -> None:
    server.deploy(f"{write('woken.py', HELLO)}:handler", "--name", "woken")
    assert "has not been woken" in server.cli("show", "woken", "--wakes").stdout
    assert server.cli("chill", "woken", "--to", "cold").returncode == 0
    server.invoke("woken", {})
    told = shown(server, "woken")
    [wake] = told["wakes"]
    assert (wake["temperature"], wake["number"]) == ("cold", 1)
    assert {"fork", "init", "restore", "other", "queue", "first_run"} <= wake["parts_ms"].keys()
    of_the_wake = sum(took for part, took in wake["parts_ms"].items() if part not in ("queue", "first_run"))
    assert of_the_wake == pytest.approx(wake["total_ms"])
    total = told["wake_statistics"]["total"]
    assert (total["count"], total["p99_ms"]) == (1, pytest.approx(wake["total_ms"]))
    assert [bucket["count"] for bucket in told["wake_statistics"]["buckets"]] == [1]
    out = server.cli("show", "woken", "--wakes").stdout
    assert f"{wake['total_ms']:,.1f}" in out
    assert "1 wake since the server started" in out
    assert "lambent show woken --wakes" in server.cli("show", "woken").stdout


def test_ls_tells_memory_by_whose_it_is_and_the_last_wake(server: RunningServer, write: Write) -> None:
    server.deploy(f"{write('sized.py', HELLO)}:handler", "--name", "sized", "--set", "keep=primed")
    server.invoke("sized", {})
    one = listed(server, "sized")
    assert one["private_bytes"] > 0
    assert one["shared_bytes"] > 0
    assert one["private_bytes"] + one["shared_bytes"] == one["pss_bytes"]
    assert one["keep"] == "primed"
    assert one["last_wake"]["total_ms"] > 0
    [line] = [line for line in server.cli("ls").stdout.splitlines() if line.startswith("sized ")]
    assert "MiB" in line
    assert " from primed, " in line
    chilled = server.cli("chill", "sized", "--to", "cold")
    assert "sized is cold; keep=primed holds again as soon as it is invoked" in chilled.stdout
    assert listed(server, "sized")["pss_bytes"] == 0


def test_what_is_unsafe_to_fork_is_refused_with_its_reason_and_allowed_by_a_setting(
    server: RunningServer, write: Write
) -> None:
    target = f"{write('thread.py', THREAD)}:handler"
    server.deploy(target, "--name", "thread")
    done = server.cli("prime", "thread")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1)
    assert "thread cannot be primed: a thread is running: refresher" in done.stderr
    assert "cannot be primed: a thread is running" in server.cli("ls").stdout
    assert "not primed" in server.cli("show", "thread").stdout
    server.deploy(target, "--name", "thread", "--set", "fork_unsafe=allow")
    done = server.cli("prime", "thread")
    assert (done.returncode, done.stdout) == (
        0,
        "thread is primed, although a thread is running: refresher\n",
    )
    assert server.invoke("thread", {"x": 1}).json() == {"hello": {"x": 1}}
    view = listed(server, "thread")
    assert (view["unsafe"], view["overruled"]) == ([], ["a thread is running: refresher"])
    assert "overruled" in server.cli("show", "thread").stdout
    wrong = server.cli("deploy", target, "--name", "thread", "--set", "fork_unsafe=yes")
    assert "fork_unsafe='yes' is none of refuse, allow" in wrong.stderr


@pytest.mark.parametrize("verb", ["chill", "prime"])
def test_what_has_no_temperature_is_told_in_one_line(server: RunningServer, write: Write, verb: str) -> None:
    job = "import lambent\napp = lambent.App('a')\n@app.job(name='fit')\ndef fit(run):\n    return 1\n"
    server.deploy(write("job.py", job))
    for name, said in (("nope", "there is no deployment 'nope'"), ("fit", "'fit' is a job")):
        done = server.cli(verb, name)
        assert (done.returncode, done.stdout) == (1, "")
        [line] = done.stderr.strip().splitlines()
        assert said in line


def test_the_description_of_the_api_names_every_field_that_is_shown(server: RunningServer) -> None:
    schemas = server.request("GET", "/api/v1/openapi.json").json()["components"]["schemas"]
    view, wake = schemas["DeploymentView"]["properties"], schemas["WakeView"]["properties"]
    assert {"private_bytes", "shared_bytes", "keep", "last_wake", "unsafe", "overruled"} <= view.keys()
    assert {"at_unix_ms", "temperature", "total_ms", "parts_ms", "number"} <= wake.keys()
    assert {"wakes", "wake_statistics"} <= schemas["DeploymentDetail"]["properties"].keys()
    assert {"from_ms", "to_ms", "count"} <= schemas["WakeBucket"]["properties"].keys()
    assert "first_run" in schemas["WakeView"]["description"]


def test_many_deployments_are_listed_at_once(server: RunningServer, write: Write) -> None:
    """Compared with a single one on the same machine: a list that grows with its square takes minutes."""
    server.deploy(write("many.py", MANY_DEPLOYMENTS))
    began_s = time.perf_counter()
    alone = server.cli("show", "f0", "--json")
    alone_s = time.perf_counter() - began_s
    began_s = time.perf_counter()
    everything = server.cli("ls", "--json")
    everything_s = time.perf_counter() - began_s
    assert (alone.returncode, everything.returncode) == (0, 0)
    assert len(json.loads(everything.stdout)) >= MANY
    assert everything_s < PATIENT_S / 4 + 20 * alone_s
