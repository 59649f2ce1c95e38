"""How a function that runs in a program of its own is planned."""

from __future__ import annotations

import msgspec
import pytest

from lambent.control.planning import planned, planned_program
from lambent.core.errors import InvalidSpec
from lambent.core.spec import Kind, Program, Setting
from lambent.wire.api import Declaration, DeployRequest
from lambent.wire.oneshot import Description

DESCRIPTION = Description(
    (Declaration(name="hello", kind=Kind.FUNCTION, entrypoint="app:hello"),), ("torch",)
)


def request(target: str, name: str = "", **settings: Setting) -> DeployRequest:
    return DeployRequest(artifact="", target=target, name=name, settings=settings)


@pytest.mark.parametrize(
    ("target", "handler"),
    [
        ("bootstrap", "bootstrap"),
        ("bootstrap:app.handler", "app.handler"),
        ("bootstrap:A::B.C::D", "A::B.C::D"),
    ],
)
def test_a_bootstrap_is_told_its_handler_as_it_is(target: str, handler: str) -> None:
    spec = planned_program(request(target, "totals", timeout_s=3)).spec
    assert (spec.name, spec.kind, spec.runtime) == ("totals", Kind.FUNCTION, Program.PROVIDED)
    assert (spec.entrypoint, spec.timeout_s) == (handler, 3)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (request("bootstrap"), "does not say what it is called"),
        (request("bootstrap", "totals", runtime="native"), "runtime=native cannot run it"),
        (request("bootstrap", "totals", runtime="awslambdaric"), "runtime=awslambdaric cannot run it"),
        (request("bootstrap", "totals", fork_unsafe="allow"), "a process of its own"),
        (request("bootstrap", "totals", max_batch=8), "max_batch=8 is for models"),
    ],
)
def test_a_bootstrap_cannot_be_what_it_is_not(asked: DeployRequest, said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        planned_program(asked)


def test_settings_for_its_name_win() -> None:
    asked = msgspec.structs.replace(
        request("bootstrap", "totals", timeout_s=3), per_deployment={"totals": {"timeout_s": 4}}
    )
    assert planned_program(asked).spec.timeout_s == 4
    with pytest.raises(InvalidSpec, match="settings for others"):
        planned_program(msgspec.structs.replace(asked, per_deployment={"others": {}}))


def test_a_handler_may_run_in_the_client_of_aws_and_not_as_a_bootstrap() -> None:
    (one,) = planned(DESCRIPTION, request("app.py", runtime="awslambdaric"), jobs=frozenset())
    assert (one.spec.runtime, one.spec.entrypoint) == (Program.AWSLAMBDARIC, "app:hello")
    with pytest.raises(InvalidSpec, match=r"runs an executable 'bootstrap'; hello is in app.py"):
        planned(DESCRIPTION, request("app.py", runtime="provided"), jobs=frozenset())
