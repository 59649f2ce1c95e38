"""How a function that runs in a program of its own is planned."""

from __future__ import annotations

import msgspec
import pytest

from lambent.control.planning import commands_in, planned, planned_processes, planned_program
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


COMMAND = "uvicorn app:app --port $PORT"


def asked_for(
    name: str = "", settings: dict[str, Setting] | None = None, **each: dict[str, Setting]
) -> DeployRequest:
    return DeployRequest(artifact="", target=".", name=name, settings=settings or {}, per_deployment=each)


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (asked_for("shop", {"command": COMMAND}), ["shop"]),
        (asked_for("shop", {"runtime": "http"}), ["shop"]),
        (asked_for("", {"command": COMMAND}), [""]),
        (asked_for(one={"command": "a"}, two={"runtime": "http", "command": "b"}), ["one", "two"]),
        (asked_for(one={"memory": "1GiB"}), []),
        (asked_for("shop"), []),
    ],
)
def test_a_command_says_itself_what_it_is_called_or_is_told(asked: DeployRequest, names: list[str]) -> None:
    assert list(commands_in(asked)) == names


def test_a_command_has_many_requests_at_once_unless_it_says_less() -> None:
    one, two = planned_processes(
        asked_for("", {"memory": "1GiB"}, one={"command": "a"}, two={"command": "b", "concurrency": 1}),
        ["one", "two"],
    )
    assert (one.spec.runtime, one.spec.command, one.spec.concurrency) == (Program.HTTP, "a", 100)
    assert (two.spec.command, two.spec.concurrency, two.spec.memory_bytes) == ("b", 1, 2**30)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (asked_for("", {"command": COMMAND}), "does not say what it is called"),
        (asked_for("shop", {"runtime": "http"}), "which needs one"),
        (asked_for("shop", {"command": " "}), "which needs one"),
        (asked_for("shop", {"command": "a", "runtime": "native"}), "is for runtime=http"),
        (asked_for("shop", {"command": "a", "max_batch": 4}), "is for models"),
        (asked_for("shop", {"command": "a", "ready_path": "health"}), "is no path"),
        (asked_for("shop", {"command": "a"}, others={"memory": "1GiB"}), "settings for others"),
    ],
)
def test_a_command_cannot_be_what_it_is_not(asked: DeployRequest, said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        planned_processes(asked, list(commands_in(asked)))


def test_what_python_declares_is_no_command() -> None:
    with pytest.raises(InvalidSpec, match=r"runs a command, and hello is in app.py"):
        planned(DESCRIPTION, request("app.py", runtime="http"), jobs=frozenset())


def test_an_app_may_declare_a_command_beside_its_functions() -> None:
    settings: dict[str, Setting] = {"command": COMMAND, "ready_path": "/health"}
    command = Declaration(name="shop", kind=Kind.FUNCTION, entrypoint="", settings=settings, app="all")
    described = msgspec.structs.replace(DESCRIPTION, declarations=(*DESCRIPTION.declarations, command))
    hello, shop = planned(described, request("app.py"), jobs=frozenset())
    assert (hello.spec.runtime, shop.spec.runtime, shop.app) == (Program.NATIVE, Program.HTTP, "all")
    assert (shop.spec.command, shop.spec.concurrency, shop.spec.entrypoint) == (COMMAND, 100, "")
