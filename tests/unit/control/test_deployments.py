"""What is deployed answers; what fails leaves what was there."""

import asyncio
import shutil
from pathlib import Path

import msgspec
import pytest

from lambent.core.errors import CallerFault, Conflict, InvalidSpec, LoadFailed, NotFound
from lambent.core.spec import Kind, Temperature
from lambent.engines.memory_worker import Dies
from lambent.pool.routes import Route, Routes
from lambent.wire.api import DeployRequest
from lambent.wire.process import Runtime
from tests.unit.control.house import PROJECT, House, declared, play


def route_of(house: House, name: str = "hello") -> Route:
    route = house.routes.get(PROJECT, name)
    assert route is not None
    return route


def content_of(folder: str, file: str) -> bytes:
    return Path(folder, file).read_bytes()


def test_a_function_is_deployed_loaded_and_routed(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        deployed = await house.deployments.deploy(PROJECT, house.code(b"1", declared("hello")))
        [revision] = deployed.revisions
        assert (revision.number, deployed.changed) == (1, ("hello",))
        route = route_of(house)
        assert (route.plan.revision, route.plan.runtime) == (revision.id, Runtime.HANDLER)
        assert (route.plan.entrypoint, route.plan.imports) == ("app:hello", ("numpy",))
        assert content_of(route.plan.code_dir, "app.py") == b"1"
        assert route.plan.function_arn.endswith(":function:hello")
        assert house.engine.temperature(revision.id) is Temperature.PRIMED
        assert house.loads.loaded == ["hello"]

    play(tmp_path, story)


def test_the_same_again_changes_nothing(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        first = await house.deployments.deploy(PROJECT, house.code(b"1"))
        again = await house.deployments.deploy(PROJECT, house.code(b"1"))
        assert again.revisions == first.revisions
        assert again.changed == ()
        other = await house.deployments.deploy(PROJECT, house.code(b"2"))
        assert (other.revisions[0].number, other.changed) == (2, ("hello",))

    play(tmp_path, story)


def test_settings_go_over_each_other_from_the_general_to_the_particular(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        own = {"timeout_s": 1, "workers_max": 1, "memory": "64MiB"}
        request = house.code(b"1", declared("hello", settings=own), declared("other"))
        request = msgspec.structs.replace(
            request,
            settings={"timeout_s": 2, "workers_max": 2, "env.A": "b"},
            per_deployment={"hello": {"timeout_s": 3}},
        )
        await house.deployments.deploy(PROJECT, request)
        spec = route_of(house).spec
        assert (spec.timeout_s, spec.workers_max, spec.memory_bytes) == (3, 2, 64 * 2**20)
        assert route_of(house).plan.env == {"A": "b"}
        assert route_of(house, "other").spec.timeout_s == 2

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"settings": {"colour": 1}}, "colour"),
        ({"settings": {"workers_max": 0}}, "workers_max=0"),
        ({"per_deployment": {"nobody": {}}}, "nobody"),
        ({"name": "Not A Name"}, "Not A Name"),
    ],
)
def test_settings_that_do_not_fit_are_named(tmp_path: Path, change: dict[str, object], says: str) -> None:
    async def story(house: House) -> None:
        request = msgspec.structs.replace(house.code(b"1"), **change)
        with pytest.raises(InvalidSpec, match=says):
            await house.deployments.deploy(PROJECT, request)
        assert list(house.routes.all()) == []

    play(tmp_path, story)


def test_a_name_is_for_one_deployment(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        named = msgspec.structs.replace(house.code(b"1", declared("hello")), name="other")
        await house.deployments.deploy(PROJECT, named)
        assert route_of(house, "other").spec.entrypoint == "app:hello"
        both = msgspec.structs.replace(house.code(b"2", declared("a"), declared("b")), name="other")
        with pytest.raises(InvalidSpec, match="a, b"):
            await house.deployments.deploy(PROJECT, both)

    play(tmp_path, story)


@pytest.mark.parametrize("target", ["missing.py", "../app.py", "/etc/passwd", "./"])
def test_a_target_that_is_not_in_the_artifact(tmp_path: Path, target: str) -> None:
    async def story(house: House) -> None:
        request = msgspec.structs.replace(house.code(b"1"), target=target)
        with pytest.raises(CallerFault, match="has no file"):
            await house.deployments.deploy(PROJECT, request)

    play(tmp_path, story)


def test_an_artifact_that_nobody_uploaded(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        with pytest.raises(NotFound):
            await house.deployments.deploy(PROJECT, DeployRequest(artifact="0" * 64, target="app.py"))

    play(tmp_path, story)


def test_code_that_cannot_be_imported_is_told_with_its_error(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        before = await house.deployments.deploy(PROJECT, house.code(b"1"))
        house.loads.describes[b"2"] = ModuleNotFoundError("No module named 'x'")
        with pytest.raises(LoadFailed) as caught:
            await house.deployments.deploy(PROJECT, house.code(b"2"))
        assert (caught.value.kind, caught.value.message) == ("ModuleNotFoundError", "No module named 'x'")
        assert route_of(house).plan.revision == before.revisions[0].id

    play(tmp_path, story)


def test_code_that_ends_the_process_shows_its_last_words(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.loads.describes[b"1"] = Dies(3)
        with pytest.raises(LoadFailed, match=r"exit code 3.*about to end"):
            await house.deployments.deploy(PROJECT, house.code(b"1"))

    play(tmp_path, story)


def test_code_that_never_ends_to_import_is_given_up(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.loads.waiting = asyncio.Event()
        with pytest.raises(LoadFailed, match="was not imported within") as caught:
            await house.deployments.deploy(PROJECT, house.code(b"1"))
        assert caught.value.kind == "Sandbox.Timedout"

    play(tmp_path, story, oneshot_s=0.01)


def test_what_does_not_load_is_not_activated_and_keeps_no_memory(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        before = await house.deployments.deploy(PROJECT, house.code(b"1", declared("a"), declared("b")))
        house.loads.load_fails["b"] = ValueError("no such file")
        with pytest.raises(LoadFailed, match="no such file"):
            await house.deployments.deploy(PROJECT, house.code(b"2", declared("a"), declared("b")))
        for made in before.revisions:
            assert route_of(house, made.deployment).plan.revision == made.id
            assert [one.number for one in await house.deployments.revisions(PROJECT, made.deployment)] == [1]
        assert {facts.revision for facts in house.engine.census()} <= {"", *(r.id for r in before.revisions)}

    play(tmp_path, story)


def test_a_name_belongs_to_the_app_that_declared_it(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.deployments.deploy(PROJECT, house.code(b"1", declared("hello", app="one")))
        for content, app in ((b"2", "two"), (b"3", "")):
            with pytest.raises(Conflict, match="belongs to the app 'one'"):
                await house.deployments.deploy(PROJECT, house.code(content, declared("hello", app=app)))
        await house.deployments.deploy("other", house.code(b"2", declared("hello", app="two")))
        assert house.routes.get("other", "hello") is not None

    play(tmp_path, story)


def test_two_deploys_of_one_name_at_once_follow_each_other(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        requests = [house.code(content, declared("a"), declared("b")) for content in (b"1", b"2", b"3")]
        deployed = await asyncio.gather(*(house.deployments.deploy(PROJECT, one) for one in requests))
        numbers = sorted(one.revisions[0].number for one in deployed)
        assert numbers == [1, 2, 3]
        for name in ("a", "b"):
            active = await house.deployments.active(PROJECT, name)
            assert (active.number, route_of(house, name).plan.revision) == (3, active.id)

    play(tmp_path, story)


def test_a_model_file_is_prepared_registered_and_served(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        deployed = await house.deployments.deploy(PROJECT, house.model(b"weights"))
        route = route_of(house, "net-1")
        assert (route.plan.runtime, route.plan.adapter, route.plan.code_dir) == (Runtime.MODEL, "onnx", "")
        assert route.plan.imports == ("onnxruntime",)
        assert content_of(route.plan.model_dir, "Net_1.onnx") == b"weights"
        assert content_of(route.plan.model_dir, ".lambent/serving.json")
        assert (route.needs_model, deployed.revisions[0].model_number) == (False, 1)
        assert not any((tmp_path / "work").iterdir())

        again = await house.deployments.deploy(PROJECT, house.model(b"weights"))
        assert again.changed == ()
        better = await house.deployments.deploy(PROJECT, house.model(b"other"))
        assert (better.revisions[0].number, better.revisions[0].model_number) == (2, 2)
        named = await house.deployments.deploy(PROJECT, house.model(b"weights", name="mine"))
        assert named.changed == ("mine",)

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [(b"damaged", LoadFailed, "not a model"), (b"unknown", CallerFault, "nothing here can serve")],
)
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes, error: type[Exception], says: str) -> None:
    async def story(house: House) -> None:
        with pytest.raises(error, match=says):
            await house.deployments.deploy(PROJECT, house.model(content))
        assert list(await house.registry.all(PROJECT, "")) == []
        assert not any((tmp_path / "work").iterdir())

    play(tmp_path, story)


async def deploy_trained(house: House, content: bytes = b"1") -> None:
    model = declared("digits", Kind.MODEL, train="digits-fit", app="digits")
    job = declared("digits-fit", Kind.JOB, app="digits")
    await house.deployments.deploy(PROJECT, house.code(content, model, job))


async def register(house: House, content: bytes) -> None:
    """Register a model as a run does, and promote it."""
    folder = house.work_dir / "run"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(content)
    facts = house.artifacts.ingest_tree(folder)
    shutil.rmtree(folder)
    model = house.store.models.register(
        project=PROJECT,
        name="digits",
        digest=facts.digest,
        size_bytes=7,
        metrics={"accuracy": 0.98},
        run="r1",
    )
    await house.deployments.promote_model(PROJECT, "digits", model)


def test_a_model_is_made_when_it_is_needed_and_kept_over_new_code(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await deploy_trained(house)
        assert route_of(house, "digits").needs_model
        assert not route_of(house, "digits-fit").invocable
        assert house.loads.loaded == []

        await register(house, b"weights")
        route = route_of(house, "digits")
        assert (route.needs_model, route.plan.number) == (False, 2)
        assert content_of(route.plan.model_dir, "weights") == b"weights"

        await deploy_trained(house, b"2")
        after = route_of(house, "digits")
        assert (after.plan.number, after.plan.model_dir) == (3, route.plan.model_dir)

    play(tmp_path, story)


def test_a_model_that_does_not_load_is_not_promoted(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await deploy_trained(house)
        house.loads.load_fails["digits"] = ValueError("wrong shape")
        with pytest.raises(LoadFailed, match="wrong shape"):
            await register(house, b"weights")
        assert route_of(house, "digits").needs_model

    play(tmp_path, story)


def test_a_model_of_a_deployment_that_is_gone(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        with pytest.raises(NotFound):
            await register(house, b"weights")

    play(tmp_path, story)


def test_the_job_that_trains_must_be_there(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        alone = house.code(b"1", declared("digits", Kind.MODEL, train="digits-fit"))
        with pytest.raises(InvalidSpec, match="digits-fit"):
            await house.deployments.deploy(PROJECT, alone)
        await house.deployments.deploy(PROJECT, house.code(b"2", declared("digits-fit", Kind.JOB)))
        await house.deployments.deploy(PROJECT, alone)

    play(tmp_path, story)


def test_a_way_back_and_forth(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        for content in (b"1", b"2", b"3"):
            await house.deployments.deploy(PROJECT, house.code(content))
        back = await house.deployments.rollback(PROJECT, "hello", None)
        assert (back.number, route_of(house).plan.revision) == (2, back.id)
        assert (await house.deployments.rollback(PROJECT, "hello", None)).number == 1
        assert (await house.deployments.rollback(PROJECT, "hello", 3)).number == 3
        assert (await house.deployments.deploy(PROJECT, house.code(b"4"))).revisions[0].number == 4
        for name, to in (("hello", 9), ("nobody", None)):
            with pytest.raises(NotFound):
                await house.deployments.rollback(PROJECT, name, to)

    play(tmp_path, story)


def test_there_is_nothing_before_the_first_revision(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.deployments.deploy(PROJECT, house.code(b"1"))
        with pytest.raises(NotFound, match="before the active"):
            await house.deployments.rollback(PROJECT, "hello", None)

    play(tmp_path, story)


def test_a_revision_that_does_not_load_any_more_is_no_way_back(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.deployments.deploy(PROJECT, house.code(b"1"))
        now = await house.deployments.deploy(PROJECT, house.code(b"2"))
        await house.engine.chill(route_of(house).plan.revision, Temperature.COLD)
        house.loads.load_fails["hello"] = ValueError("gone")
        first = (await house.deployments.revisions(PROJECT, "hello"))[-1]
        await house.engine.chill(first.id, Temperature.COLD)
        with pytest.raises(LoadFailed):
            await house.deployments.rollback(PROJECT, "hello", None)
        assert route_of(house).plan.revision == now.revisions[0].id

    play(tmp_path, story)


def test_what_is_removed_is_gone_with_its_logs(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.deployments.deploy(PROJECT, house.code(b"1"))
        await house.deployments.remove(PROJECT, "hello")
        assert house.routes.get(PROJECT, "hello") is None
        assert house.logs.forgotten == ["hello"]
        with pytest.raises(NotFound):
            await house.deployments.remove(PROJECT, "hello")
        again = await house.deployments.deploy(PROJECT, house.code(b"1"))
        assert again.revisions[0].number == 1

    play(tmp_path, story)


def test_after_a_restart_everything_answers_but_what_was_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(house: House) -> None:
        await deploy_trained(house)
        kept = await house.deployments.deploy(PROJECT, house.code(b"x", declared("kept")))
        lost = await house.deployments.deploy(PROJECT, house.code(b"y", declared("lost")))
        folder = house.artifacts.path(lost.revisions[0].code_digest)
        folder.chmod(0o755)
        shutil.rmtree(folder)

        routes = Routes()
        await house.new_deployments(house.new_activation(routes, house.trials)).restore()
        assert {route.name for route in routes.all()} == {"digits", "digits-fit", "kept"}
        assert routes.get(PROJECT, "kept") == route_of(house, "kept")
        restored = routes.get(PROJECT, "digits")
        assert restored is not None
        assert restored.needs_model
        assert kept.revisions[0].id in {route.plan.revision for route in routes.all()}
        assert "deployment_lost" in [record.message for record in caplog.records]

    play(tmp_path, story)
