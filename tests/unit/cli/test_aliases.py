"""`alias`, `promote` and `deploy --canary`: what is sent and what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lambent.wire.aliases import AliasView, TrialView
from lambent.wire.api import ArtifactReply, DeployReply, Problem
from tests.support.fake_control import FakeControl, Told, json_told, problem_told
from tests.unit.cli.conftest import Lambent
from tests.unit.cli.views import HELLO

PATH = "/api/v1/deployments/hello/aliases"
PROD = AliasView(
    name="prod", revision=3, candidate=4, percent=10.0, sticky_header="x-user", max_error_rate=0.05,
    max_p95_ms=300.0, promote_after_s=None, changed_unix_ms=0, note="",
    trial=TrialView(
        calls=40, failed=1, timed=40, slow=2, old_calls=360, old_failed=0, old_timed=360, old_slow=3,
        state="it goes on",
    ),
)  # fmt: skip
PLAIN = AliasView(
    name="live", revision=3, candidate=None, percent=0.0, sticky_header="", max_error_rate=None,
    max_p95_ms=None, promote_after_s=None, changed_unix_ms=0,
    note="revision 4 went back: 5 of 5 calls failed",
)  # fmt: skip


def sent(control: FakeControl) -> Any:
    return json.loads(control.asked[-1].body)


def test_an_alias_is_set_with_its_weights_and_bounds(control: FakeControl, lambent: Lambent) -> None:
    control.tell("PUT", f"{PATH}/prod", json_told(PROD))
    printed = lambent(
        "alias", "hello", "set", "prod=3:90,4:10",
        "--sticky-header", "X-User", "--max-error-rate", "0.05", "--max-p95-ms", "300",
    )  # fmt: skip
    assert (printed.err, printed.out) == ("", "hello: revision 3 gets 90 % of prod, revision 4 10 %\n")
    assert sent(control) == {
        "revision": 3, "candidate": 4, "percent": 10.0, "sticky_header": "X-User", "max_error_rate": 0.05,
        "max_p95_ms": 300.0, "promote_after_s": None,
    }  # fmt: skip
    control.tell("PUT", f"{PATH}/live", json_told(PLAIN))
    assert lambent("alias", "hello", "set", "live=3").out == "hello: live is revision 3\n"
    assert sent(control)["candidate"] is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["set", "prod"], "'prod' is not of the form ALIAS=REVISION"),
        (["set", "prod=3:90,4:20"], "the percents add up to 110, not to 100"),
        (["set", "prod=x"], "neither a revision's number"),
        (["set", "prod=3", "--max-error-rate", "2"], "not in the range"),
        (["set", "a.b=3"], "not a name for an alias"),
        (["rm", "3"], "not a name for an alias"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_nothing_is_sent(
    control: FakeControl, lambent: Lambent, words: list[str], told: str
) -> None:
    printed = lambent("alias", "hello", *words)
    assert printed.code != 0
    assert told in printed.err
    assert printed.err.count("\n") == 1
    assert not control.asked


@pytest.mark.parametrize("words", [(), ("ls",)])
def test_aliases_are_listed_with_how_trials_do(
    control: FakeControl, lambent: Lambent, words: tuple[str, ...]
) -> None:
    control.tell("GET", PATH, json_told([PROD, PLAIN, msgspec.structs.replace(PROD, name="")]))
    lines = lambent("alias", "hello", *words).out.splitlines()
    assert lines[0].split() == ["ALIAS", "REV", "ON", "TRIAL", "STICKY", "BY", "BOUNDS", "SINCE", "NOTE"]
    assert lines[1].startswith("prod ")
    assert "4: 10 %" in lines[1]
    assert "errors 5 %, p95 300 ms" in lines[1]
    assert "1 of 40 calls failed, 2 slow; it goes on" in lines[1]
    assert "revision 4 went back: 5 of 5 calls failed" in lines[2]
    assert lines[3].startswith("(its own name)")
    told = lambent("alias", "hello", "ls", "--json") if words else lambent("alias", "--json", "hello")
    assert json.loads(told.out)[0]["name"] == "prod"


def test_an_alias_is_taken_away(control: FakeControl, lambent: Lambent) -> None:
    control.tell("DELETE", f"{PATH}/prod", Told(status=204))
    assert lambent("alias", "hello", "rm", "prod").out == "removed prod of hello\n"
    missing = Problem("Not Found", 404, "not_found", "'hello' has no alias 'live'")
    control.tell("DELETE", f"{PATH}/live", problem_told(missing))
    printed = lambent("alias", "hello", "rm", "live")
    assert (printed.code, printed.err) == (1, "error: 'hello' has no alias 'live'\n")


def test_what_is_on_trial_is_promoted(control: FakeControl, lambent: Lambent) -> None:
    control.tell(
        "POST", "/api/v1/deployments/hello/promote", json_told(msgspec.structs.replace(PROD, name=""))
    )
    assert lambent("promote", "hello", "--percent", "10").out == (
        "hello: revision 3 gets 90 %, revision 4 10 %\n"
    )
    assert sent(control) == {"alias": "", "percent": 10.0}
    control.tell("POST", "/api/v1/deployments/hello/promote", json_told(PLAIN))
    assert lambent("promote", "hello", "--alias", "live").out == "hello: live is revision 3\n"
    assert sent(control) == {"alias": "live", "percent": 100.0}


def test_a_deploy_can_be_a_trial(control: FakeControl, lambent: Lambent, tmp_path: Path) -> None:
    code = tmp_path / "app.py"
    code.write_text("def handler(event, context): ...\n")
    control.tell("POST", "/api/v1/artifacts", json_told(ArtifactReply("d", 1, 1), 201))
    view = msgspec.structs.replace(HELLO, name="hello", number=4)
    control.tell("POST", "/api/v1/deployments", json_told(DeployReply((view,), ("hello",), ("hello",))))
    printed = lambent("deploy", f"{code}:handler", "--canary", "10", "--max-p95-ms", "300")
    assert printed.out.startswith("on trial with 10 %  hello")
    assert "`lambent promote hello` lets it take over" in printed.out
    assert sent(control)["canary"] == {
        "percent": 10.0, "sticky_header": "", "max_error_rate": 0.05, "max_p95_ms": 300.0,
        "promote_after_s": None,
    }  # fmt: skip
    alone = lambent("deploy", f"{code}:handler", "--max-p95-ms", "300")
    assert (alone.code, "are for --canary" in alone.err) == (2, True)


def test_an_invocation_names_its_alias_and_headers(control: FakeControl, lambent: Lambent) -> None:
    control.tell("POST", "/invoke/hello", json_told({"ok": 1}))
    assert lambent("invoke", "hello", "--alias", "prod", "-H", "X-User: ann").code == 0
    headers = control.asked[-1].headers
    assert (headers["lambent-alias"], headers["x-user"]) == ("prod", "ann")
    assert lambent("invoke", "hello", "-H", "nonsense").code == 2
