"""The control API over HTTP: what it answers, to whom, and that its description is true."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lambent.core.invocation import Role
from lambent.core.running import RunTerms
from lambent.core.spec import Kind
from lambent.storage.base import Run, RunState
from lambent.wire.api import DeployRequest
from tests.support.engine_stages import eventually
from tests.support.tars import tar_of
from tests.unit.control.house import PROJECT, UPLOAD_BYTES_MAX, House, declared, play
from tests.unit.gateway.asgi import Response


def refused(answer: Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status, answer.json()["code"]


def test_a_deployment_from_upload_to_removal(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        uploaded = await house.call("POST", "/artifacts", tar_of({"app.py": b"1"}))
        assert (uploaded.status, uploaded.json()["files"]) == (201, 1)
        request = DeployRequest(artifact=uploaded.json()["digest"], target="app.py")
        deployed = await house.call("POST", "/deployments", request)
        assert deployed.status == 200
        [view] = deployed.json()["deployments"]
        assert (view["name"], view["kind"], view["temperature"]) == ("hello", "function", "primed")
        assert (view["number"], view["workers"], view["pss_bytes"] > 0) == (1, 0, True)
        assert view["url"] == "http://lambent.test:8700/invoke/hello"
        assert deployed.json()["changed"] == ["hello"]
        assert (await house.call("GET", "/deployments")).json() == [view]

        detail = (await house.call("GET", "/deployments/hello")).json()
        assert detail["deployment"] == view
        assert [(one["number"], one["active"]) for one in detail["revisions"]] == [(1, True)]

        assert (await house.call("DELETE", "/deployments/hello")).status == 204
        assert refused(await house.call("GET", "/deployments/hello")) == (404, "not_found")
        assert (await house.call("GET", "/deployments")).json() == []

    play(tmp_path, story)


def test_a_deploy_whose_client_leaves_while_the_code_is_imported_is_given_up(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.loads.waiting = asyncio.Event()
        answer = await house.call("POST", "/deployments", house.code(b"1"), until=house.loads.describing)
        assert answer.status == 400  # which nobody reads
        await eventually(lambda: all(one.role != "worker" for one in house.engine.census()))
        assert (await house.call("GET", "/deployments")).json() == []

    play(tmp_path, story)


def test_a_rollback_shows_what_answers_now(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        for content in (b"1", b"2"):
            await house.deployments.deploy(PROJECT, house.code(content))
        assert (await house.call("POST", "/deployments/hello/rollback")).json()["number"] == 1
        back = await house.call("POST", "/deployments/hello/rollback", {"to": 2})
        assert (back.status, back.json()["number"]) == (200, 2)
        assert refused(await house.call("POST", "/deployments/hello/rollback", {"to": 7})) == (
            404,
            "not_found",
        )

    play(tmp_path, story)


def test_a_load_error_shows_the_users_own_error(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.loads.describes[b"1"] = ModuleNotFoundError("No module named 'x'")
        answer = await house.call("POST", "/deployments", house.code(b"1"))
        assert refused(answer) == (502, "load_failed")
        assert answer.json()["error_type"] == "ModuleNotFoundError"

    play(tmp_path, story)


def test_logs_are_lines(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.deployments.deploy(PROJECT, house.code(b"1"))
        answer = await house.call("GET", "/deployments/hello/logs")
        assert (answer.body, answer.headers["content-type"]) == (
            b"hello 1\nhello 2\n", "text/plain; charset=utf-8",
        )  # fmt: skip
        assert (await house.call("GET", "/deployments/hello/logs?tail=1")).body == b"hello 2\n"
        assert (await house.call("GET", "/deployments/hello/logs?tail=0&follow=true")).body == b"later\n"
        assert refused(await house.call("GET", "/deployments/nobody/logs")) == (404, "not_found")
        for wrong in ("tail=-1", "tail=x", "tail=" + "9" * 5000, "tail=10001", "follow=maybe"):
            answer = await house.call("GET", f"/deployments/hello/logs?{wrong}")
            assert refused(answer) == (400, "invalid_request")

    play(tmp_path, story)


def test_runs_and_models(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.deployments.deploy(PROJECT, house.model(b"weights"))
        [model] = (await house.call("GET", "/models?name=net-1")).json()
        assert (model["name"], model["number"]) == ("net-1", 1)
        assert (await house.call("GET", "/models?name=other")).json() == []

        started = await house.call("POST", "/runs", {"job": "fit", "params": {"epochs": 2}})
        assert (started.status, started.json()["run"], started.json()["state"]) == (201, "r1", "running")
        chosen = {"after": ["r0"], "priority": 3, "max_cost_usd": 0.5, "datasets": {"digits": 2}, "key": "k"}
        await house.call("POST", "/runs", {"job": "fit", **chosen})
        terms = RunTerms(after=("r0",), priority=3, max_cost_usd=0.5, datasets={"digits": 2}, key="k")
        assert house.runner.started == [("fit", {"epochs": 2}, RunTerms()), ("fit", {}, terms)]
        assert refused(await house.call("POST", "/runs", {"job": "fit", "priority": 10**9}))[0] == 422

        for project, identity in ((PROJECT, "r1"), ("other", "r2")):
            run = Run(
                id=identity, project=project, job="fit", for_deployment="digits",
                state=RunState.FAILED, created_unix_ms=1,
            )  # fmt: skip
            house.store.runs.put(run)
        assert [run["run"] for run in (await house.call("GET", "/runs")).json()] == ["r1"]
        assert (await house.call("GET", "/runs?job=other")).json() == []
        assert len((await house.call("GET", "/runs?job=fit&deployment=digits")).json()) == 1
        assert (await house.call("GET", "/runs/r1")).json()["state"] == "failed"
        assert refused(await house.call("GET", "/runs/r2")) == (404, "not_found")
        assert len((await house.call("GET", "/runs?state=failed&limit=1")).json()) == 1
        assert (await house.call("GET", "/runs?state=queued")).json() == []
        assert (await house.call("GET", "/runs?before=r1")).json() == []
        for wrong in ("state=lost", "limit=0", "limit=many"):
            assert refused(await house.call("GET", f"/runs?{wrong}"))[0] == 400
        for verb in ("cancel", "retry"):
            assert (await house.call("POST", f"/runs/r1/{verb}")).json()["run"] == "r1"
        assert house.runner.asked == [("cancel", "r1"), ("retry", "r1")]

    play(tmp_path, story)


def test_keys_are_made_listed_and_removed(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        made = await house.call("POST", "/keys", {"name": "ci", "role": "deploy"})
        assert made.status == 201
        assert made.json()["api_key"].startswith(f"lk_{made.json()['key']['key_id']}_")
        assert (await house.call("GET", "/keys")).json() == [made.json()["key"]]
        path = f"/keys/{made.json()['key']['key_id']}"
        assert (await house.call("DELETE", path, project="other")).status == 404
        assert (await house.call("DELETE", path)).status == 204
        assert (await house.call("GET", "/keys")).json() == []
        assert refused(await house.call("POST", "/keys", {"name": ""})) == (400, "invalid_request")

    play(tmp_path, story)


def test_usage_of_a_period(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        usage = (await house.call("GET", "/usage?since_unix_ms=5&until_unix_ms=9")).json()
        assert (usage["since_unix_ms"], usage["until_unix_ms"]) == (5, 9)
        usage = (await house.call("GET", "/usage")).json()
        assert usage["until_unix_ms"] - usage["since_unix_ms"] == 30 * 86_400_000
        answer = await house.call("GET", "/usage?since_unix_ms=9&until_unix_ms=5")
        assert refused(answer) == (400, "invalid_request")

    play(tmp_path, story)


def test_processes_of_the_project_and_of_the_house(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.deployments.deploy(PROJECT, house.code(b"1"))
        seen = (await house.call("GET", "/processes")).json()
        assert {(one["role"], one["deployment"]) for one in seen} == {
            ("server", ""), ("environment", ""), ("template", "hello"),
        }  # fmt: skip
        others = (await house.call("GET", "/processes", project="other")).json()
        assert {one["role"] for one in others} == {"server", "environment"}

    play(tmp_path, story)


def test_the_doctor_looks_at_everything(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        job = declared("digits-fit", Kind.JOB)
        model = declared("digits", Kind.MODEL, train="digits-fit")
        await house.deployments.deploy(PROJECT, house.code(b"1", declared("hello"), model, job))
        crew = house.pool.crew(house.routes.get(PROJECT, "hello").plan.revision)  # type: ignore[union-attr]  # just made
        assert crew is not None
        crew.last_error = "No module named 'x'"
        found = {one["name"]: one for one in (await house.call("GET", "/doctor")).json()}
        assert [*found] == [
            "store", "disk", "memory", "usage", "engine", "budget", "cores",
            "deployment digits", "deployment digits-fit", "deployment hello",
        ]  # fmt: skip
        assert found["store"]["state"] == "ok"
        assert found["engine"]["state"] == "ok"
        assert found["cores"]["state"] == "ok"
        assert "whoever it belongs to" in found["cores"]["detail"]
        assert found["budget"]["state"] == "degraded"
        assert found["budget"]["detail"] == (
            "4 of 1 MiB used, keep policy economic, a GiB is worth 0.5 ms of waking a second; "
            "what is pinned and in use alone needs 3 MiB more: raise --memory-budget"
        )
        assert found["deployment hello"]["state"] == "failed"
        assert "No module named 'x'" in found["deployment hello"]["detail"]
        assert "digits-fit makes one" in found["deployment digits"]["detail"]

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", (400, "invalid_request")),
        (b"\xff", (400, "invalid_request")),
        (b"{}", (422, "invalid_spec")),
        (b'{"job": "fit", "colour": 1}', (422, "invalid_spec")),
        (b" " * (1024 * 1024 + 1), (413, "payload_too_large")),
    ],
)
def test_a_body_that_does_not_fit(tmp_path: Path, body: bytes, expected: tuple[int, str]) -> None:
    async def story(house: House) -> None:
        assert refused(await house.call("POST", "/runs", body)) == expected
        assert house.runner.started == []

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"not a tar", (400, "invalid_request")),
        (b"x" * (UPLOAD_BYTES_MAX + 1), (413, "payload_too_large")),
        (tar_of({"../../escape.py": b"1"}), (400, "invalid_request")),
    ],
)
def test_an_upload_that_is_refused(tmp_path: Path, body: bytes, expected: tuple[int, str]) -> None:
    async def story(house: House) -> None:
        assert refused(await house.call("POST", "/artifacts", body)) == expected
        assert not any(house.work_dir.iterdir())

    play(tmp_path, story)


def test_a_path_and_a_method_that_nobody_has(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        assert refused(await house.call("GET", "/nothing")) == (404, "not_found")
        assert refused(await house.call("POST", "/runs/")) == (404, "not_found")
        wrong = await house.call("PATCH", "/deployments/hello")
        assert refused(wrong) == (405, "method_not_allowed")
        assert sorted(wrong.headers["allow"].split(", ")) == ["DELETE", "GET", "HEAD"]
        asked = await house.call("OPTIONS", "/runs")
        assert (asked.status, asked.body) == (204, b"")
        assert sorted(asked.headers["allow"].split(", ")) == ["GET", "HEAD", "POST"]

    play(tmp_path, story)


def test_an_error_that_nobody_foresaw_tells_nothing_of_the_house(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(house: House) -> None:
        house.runner.start = None  # type: ignore[method-assign,assignment]  # so that calling it crashes
        answer = await house.call("POST", "/runs", {"job": "fit"})
        assert refused(answer) == (500, "internal")
        assert b"NoneType" not in answer.body
        assert [record.message for record in caplog.records] == ["request_crashed"]

    play(tmp_path, story)


def test_each_operation_asks_for_its_role_and_no_more(tmp_path: Path) -> None:
    order = [Role.READ, Role.INVOKE, Role.DEPLOY, Role.ADMIN]

    async def story(house: House) -> None:
        for operation in house.operations:
            path = re.sub(r"{\w+}", "x", operation.path)
            for role in order:
                answer = await house.call(operation.method, path, role=role)
                if order.index(role) < order.index(operation.role):
                    assert refused(answer) == (403, "forbidden"), (operation.name, role)
                else:
                    assert answer.status != 403, (operation.name, role)

    play(tmp_path, story)


def test_who_may_read_changes_nothing(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        reading = {one.method for one in house.operations if one.role is Role.READ}
        assert reading == {"GET"}
        keys = {one.role for one in house.operations if one.path.startswith("/keys")}
        assert keys == {Role.ADMIN}

    play(tmp_path, story)


def references(value: Any) -> Iterator[str]:
    """Every `$ref` in a description."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_the_description_has_every_route_and_holds_together(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        described = (await house.call("GET", "/openapi.json", role=Role.READ)).json()
        assert described["openapi"] == "3.1.0"
        assert described["info"]["version"] == "1.2.3"

        routes = {
            (route.path, method)
            for route in house.app.routes
            for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]  # all are plain routes
        }
        operations = {
            (path, method.upper()): operation
            for path, item in described["paths"].items()
            for method, operation in item.items()
        }
        assert routes - operations.keys() == {("/api/v1/docs", "GET")}
        assert operations.keys() <= routes

        names = [operation["operationId"] for operation in operations.values()]
        assert len(names) == len(set(names))
        for (path, method), operation in operations.items():
            in_path = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", path)), path
            assert {"default"} < operation["responses"].keys()
            assert ("requestBody" in operation) <= (method in ("POST", "PUT"))

        schemas = described["components"]["schemas"]
        assert {"DeployRequest", "DeploymentView", "Problem", "RunView", "UsageView"} <= schemas.keys()
        for reference in references(described):
            assert reference.removeprefix("#/components/schemas/") in schemas, reference

    play(tmp_path, story)


def test_the_page_of_the_description_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        page = await house.call("GET", "/docs")
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert not re.search(rb"(src|href)\s*=|https?://", page.body)
        assert (await house.call("HEAD", "/docs")).status == 200

    play(tmp_path, story)


def test_what_the_table_says_of_an_answer_is_what_comes(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.deployments.deploy(PROJECT, house.code(b"1"))
        for operation in house.operations:
            if operation.method == "GET" and "{" not in operation.path and operation.reply:
                answer = await house.call("GET", operation.path)
                msgspec.json.decode(answer.body, type=operation.reply)
                assert answer.headers["content-type"] == operation.media

    play(tmp_path, story)
