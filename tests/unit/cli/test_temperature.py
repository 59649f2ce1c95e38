"""Temperature by hand: what is said of it."""

from __future__ import annotations

import json

import msgspec
import pytest

from lambent.core.spec import Keep, Temperature
from lambent.wire.api import DeploymentView, Problem
from tests.support.fake_control import FakeControl, json_told, problem_told
from tests.unit.cli.conftest import Lambent
from tests.unit.cli.views import HELLO

T = Temperature


def told(control: FakeControl, verb: str, **changes: object) -> DeploymentView:
    view = msgspec.structs.replace(HELLO, **changes)
    control.tell("POST", f"/api/v1/deployments/hello/{verb}", json_told(view))
    return view


@pytest.mark.parametrize(
    ("words", "temperature", "keep", "said"),
    [
        ([], T.WARM, Keep.AUTO, "hello is warm"),
        (["--to", "cold"], T.COLD, Keep.AUTO, "hello is cold"),
        ([], T.COLD, Keep.AUTO, "hello is cold, colder than warm"),
        ([], T.WARM, Keep.PRIMED, "hello is warm; keep=primed holds again as soon as it is invoked"),
    ],
)
def test_chill_says_what_it_came_to(
    control: FakeControl, lambent: Lambent, words: list[str], temperature: T, keep: Keep, said: str
) -> None:
    told(control, "chill", temperature=temperature, keep=keep)
    printed = lambent("chill", "hello", *words)
    assert (printed.code, printed.out, printed.err) == (0, f"{said}\n", "")


def test_chill_fails_where_somebody_needed_it_meanwhile(control: FakeControl, lambent: Lambent) -> None:
    told(control, "chill", temperature=T.HOT)
    printed = lambent("chill", "hello", "--to", "cold")
    assert (printed.code, printed.out) == (1, "")
    assert printed.err == "error: hello is hot, not cold: it was needed meanwhile\n"


def test_nothing_is_chilled_to_what_is_not_cold(control: FakeControl, lambent: Lambent) -> None:
    printed = lambent("chill", "hello", "--to", "hot")
    assert printed.code == 2
    assert "'hot' is not one of 'cold', 'warm'" in printed.err
    assert not control.asked


def test_prime_says_what_it_came_to(control: FakeControl, lambent: Lambent) -> None:
    told(control, "prime", temperature=T.PRIMED)
    assert lambent("prime", "hello").out == "hello is primed\n"
    told(control, "prime", temperature=T.HOT)
    assert lambent("prime", "hello").out == "hello is hot: its template is loaded, and a worker runs\n"
    told(control, "prime", temperature=T.PRIMED, overruled=("a thread is running: x",))
    assert lambent("prime", "hello").out == "hello is primed, although a thread is running: x\n"


def test_prime_fails_in_one_line_with_the_reason_and_the_way_out(
    control: FakeControl, lambent: Lambent
) -> None:
    view = told(control, "prime", temperature=T.WARM, unsafe=("a thread is running: x", "a pipe is open"))
    printed = lambent("prime", "hello")
    assert (printed.code, printed.out) == (1, "")
    [line] = printed.err.splitlines()
    assert line.startswith(
        "error: hello cannot be primed: a thread is running: x; a pipe is open. It is warm"
    )
    assert "--set fork_unsafe=allow" in line
    as_json = lambent("prime", "hello", "--json")
    assert as_json.code == 1
    assert json.loads(as_json.out) == json.loads(msgspec.json.encode(view))


@pytest.mark.parametrize("verb", ["chill", "prime"])
def test_a_name_that_is_not_deployed_is_one_line(control: FakeControl, lambent: Lambent, verb: str) -> None:
    problem = Problem(title="Not found", status=404, code="not_found", detail="there is no deployment 'nope'")
    control.tell("POST", f"/api/v1/deployments/nope/{verb}", problem_told(problem))
    printed = lambent(verb, "nope")
    assert (printed.code, printed.err) == (1, "error: there is no deployment 'nope'\n")
