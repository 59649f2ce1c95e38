"""Environment templates: shared by who needs the same, kept a while, blind to the server's secrets."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import pytest
import uvloop

from lambent.core.errors import LoadFailed
from lambent.core.spec import Temperature
from lambent.engines.environments import language
from lambent.wire.process import MARK, Runtime
from tests.support.engine_stages import LocalStage, Scenery, ask, eventually
from tests.support.patience import PATIENT_S


def test_the_order_of_imports_makes_no_other_environment(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("echo")
        for revision, imports in {"a": ("json", "csv"), "b": ("csv", "json", "csv"), "c": ("json",)}.items():
            await scenery.engine.prime(msgspec.structs.replace(plan, revision=revision, imports=imports))
        assert (scenery.count("environment"), scenery.count("template")) == (2, 3)

    real.play(story, load_timeout_s=PATIENT_S)


def test_an_environment_that_cannot_be_imported_is_the_users_error(
    real: LocalStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_package.py").write_text("raise ValueError('no libgomp')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def story(scenery: Scenery) -> None:
        plan = msgspec.structs.replace(scenery.plan("echo"), imports=("broken_package",))
        with pytest.raises(LoadFailed, match="no libgomp") as failure:
            await scenery.engine.start(plan)
        assert failure.value.kind == "ValueError"
        await eventually(lambda: scenery.engine.census() == [])

    real.play(story, load_timeout_s=PATIENT_S)


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    async def story(scenery: Scenery) -> None:
        with pytest.raises(LoadFailed, match="no-such-python"):
            await scenery.engine.start(scenery.plan("echo"))

    stage = LocalStage(tmp_path, str(tmp_path / "no-such-python"), uvloop.new_event_loop)
    stage.play(story, load_timeout_s=PATIENT_S)


def test_user_code_does_not_see_the_environment_of_the_server(
    real: LocalStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the operator's")
    monkeypatch.setenv("AWS_PROFILE", "the operator's")
    monkeypatch.setenv("LANG", "de_DE.ISO-8859-1")

    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("environ"))
        _, body = await worker.call(ask(), b"{}")
        seen = msgspec.json.decode(body)
        assert "DATABASE_PASSWORD" not in seen
        assert not {"AWS_ACCESS_KEY_ID", "AWS_PROFILE"} & seen.keys()
        assert seen["LANG"] == language()
        assert language() in {"en_US.UTF-8", "C.UTF-8"}
        assert MARK in seen

    real.write("environ", "import os\ndef handler(event, context):\n    return dict(os.environ)\n")
    real.play(story, load_timeout_s=PATIENT_S)


def test_user_code_holds_no_descriptor_of_the_server(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        inherited = os.open("/proc/self/stat", os.O_RDONLY)
        os.set_inheritable(inherited, True)
        try:
            await scenery.engine.start(scenery.plan("echo"))
            worker = await scenery.engine.start(scenery.plan("descriptors"))
            _, body = await worker.call(ask(), b"{}")
        finally:
            os.close(inherited)
        kinds = [target.partition(":")[0] for target in set(msgspec.json.decode(body))]
        assert sorted(kinds) == ["/dev/null", "pipe", "socket"]

    real.write(
        "descriptors",
        "import os\ndef handler(event, context):\n    seen = []\n"
        "    for fd in os.listdir('/proc/self/fd'):\n"
        "        try: seen.append(os.readlink(f'/proc/self/fd/{fd}'))\n"
        "        except OSError: pass\n"
        "    return seen\n",
    )
    real.play(story, load_timeout_s=PATIENT_S)


def test_an_environment_that_nobody_uses_stays_for_its_time(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("echo", runtime=Runtime.DESCRIBE)
        for waited in (True, False):
            worker = await scenery.engine.start(plan)
            assert ("import" in worker.parts_ms) is waited
            await worker.call(ask(), b'{"target":"echo.py:handler"}')
            await worker.exited()
            assert scenery.count("environment") == 1

    real.play(story, load_timeout_s=PATIENT_S, environment_keep_s=PATIENT_S)


def test_an_environment_that_nobody_uses_goes_after_its_time(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("echo", runtime=Runtime.DESCRIBE))
        worker.kill()
        await eventually(lambda: scenery.engine.census() == [])

    real.play(story, load_timeout_s=PATIENT_S, environment_keep_s=0.05)


def test_an_environment_that_is_used_again_in_its_time_stays(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        plan = scenery.plan("echo")
        worker = await scenery.engine.start(msgspec.structs.replace(plan, runtime=Runtime.DESCRIBE))
        worker.kill()
        await worker.exited()
        await scenery.engine.prime(plan)
        await asyncio.sleep(0.5)
        assert (await scenery.engine.prime(plan)).temperature is Temperature.PRIMED

    real.play(story, load_timeout_s=PATIENT_S, environment_keep_s=0.3)
