"""An App takes notes of what its decorators are put on, and changes nothing else."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import lambent
from lambent.client.app import App
from lambent.core.errors import InvalidSpec
from lambent.core.spec import Kind
from lambent.wire.api import ArtifactReply, DeployReply, DeployRequest
from tests.support.fake_control import API_KEY, FakeControl, json_told
from tests.support.patience import PATIENT_S


def handler(event: object, context: object) -> object:
    return event, context


class DigitsNet:
    def predict(self, inputs: object) -> object:
        return inputs


def fit(run: object) -> object:
    return run


def test_a_decorated_object_is_still_itself() -> None:
    app = App("digits")
    assert app.function(handler) is handler
    assert app.function(memory="256MiB")(handler) is handler
    assert app.model(DigitsNet) is DigitsNet
    assert app.job(fit) is fit


def test_a_declaration_says_what_the_decorator_said() -> None:
    app = App("digits")
    app.function(memory="256MiB", timeout_s=30, env={"MODE": "fast"})(handler)
    [declared] = app.declarations
    assert (declared.name, declared.kind, declared.attribute, declared.app) == (
        "handler",
        Kind.FUNCTION,
        "handler",
        "digits",
    )
    assert declared.settings == {"memory": "256MiB", "timeout_s": 30, "env.MODE": "fast"}


def test_the_mark_on_an_object_is_its_declaration() -> None:
    app = App("digits")
    app.model(train="fit")(DigitsNet)
    app.job(name="digits-training")(fit)
    assert [DigitsNet.__lambent__, fit.__lambent__] == app.declarations  # type: ignore[attr-defined]  # the mark


def test_a_python_name_becomes_a_deployment_name() -> None:
    app = App("digits")
    app.model(DigitsNet)
    assert [one.name for one in app.declarations] == ["digits-net"]


def test_a_job_is_named_after_its_app() -> None:
    app = App("digits")
    app.job(fit)
    assert [one.name for one in app.declarations] == ["digits-fit"]


def test_train_finds_a_job_that_is_declared_later() -> None:
    app = App("digits")
    app.model(train="fit")(DigitsNet)
    app.job(fit)
    assert app.declarations[0].train == "digits-fit"


def test_train_follows_a_job_that_has_a_name_of_its_own() -> None:
    app = App("digits")
    app.model(train="fit")(DigitsNet)
    app.job(name="nightly")(fit)
    assert app.declarations[0].train == "nightly"


def test_train_that_names_no_job_is_refused_with_the_jobs_there_are() -> None:
    app = App("digits")
    app.model(train="train")(DigitsNet)
    app.job(fit)
    with pytest.raises(InvalidSpec, match="DigitsNet has train='train', no job of this app; jobs: fit"):
        _ = app.declarations


def test_an_unknown_setting_fails_at_the_decorator() -> None:
    with pytest.raises(InvalidSpec, match="unknown setting 'memroy'; known are"):
        App("digits").function(memroy="256MiB")


def test_a_setting_out_of_range_fails_at_the_decorator() -> None:
    with pytest.raises(InvalidSpec, match="timeout_s=0 is out of range"):
        App("digits").job(timeout_s=0)


@pytest.mark.parametrize("name", ["", "digits!", "a b", "-x"])
def test_an_app_needs_a_name_that_can_be_deployed(name: str) -> None:
    with pytest.raises(InvalidSpec, match="is not a name"):
        App(name)


def test_an_object_inside_another_cannot_be_deployed() -> None:
    def inner(event: object, context: object) -> None: ...

    with pytest.raises(InvalidSpec, match="inner cannot be deployed"):
        App("digits").function(inner)


def test_two_objects_of_one_name_are_refused() -> None:
    app = App("digits")
    app.function(name="digits")(handler)
    with pytest.raises(InvalidSpec, match="handler and DigitsNet are both named 'digits'"):
        app.model(name="digits")(DigitsNet)


def test_an_object_declared_again_replaces_itself() -> None:
    app = App("digits")
    app.function(handler)
    app.function(name="echo")(handler)
    assert [one.name for one in app.declarations] == ["echo"]


APP = """
import lambent
app = lambent.App("greetings")

@app.function
def hello(event, context):
    return event

app.deploy()
"""


@pytest.fixture
def app_file(tmp_path: Path) -> Path:
    file = tmp_path / "greetings.py"
    file.write_text(APP)
    return file


def imported(file: Path) -> App:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app: App = module.app
    return app


def test_deploy_sends_the_file_that_the_app_is_in(
    app_file: Path, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMBENT_URL", control.url)
    monkeypatch.setenv("LAMBENT_API_KEY", API_KEY)
    control.tell("POST", "/api/v1/artifacts", json_told(ArtifactReply("sha256:1", 10, 1), 201))
    control.tell("POST", "/api/v1/deployments", json_told(DeployReply((), ())))
    subprocess.run([sys.executable, app_file], check=True, timeout=PATIENT_S)
    uploaded, deployed = control.asked
    assert b"greetings.py" in uploaded.body
    assert msgspec.json.decode(deployed.body, type=DeployRequest) == DeployRequest("sha256:1", "greetings.py")
    assert DeployRequest("sha256:1", "greetings.py").settings == {}


def test_deploy_does_nothing_where_a_worker_imports_the_file(
    app_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No server is there to be found: a deploy would fail.
    monkeypatch.setenv("LAMBENT_STATE_DIR", str(app_file.parent))
    monkeypatch.setitem(sys.modules, "lambent.worker", lambent)
    assert imported(app_file).deploy() == DeployReply((), ())


def test_an_app_without_a_file_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lambent.worker", raising=False)  # other tests may have imported it
    namespace = {"App": App}
    exec('app = App("notebook")', namespace)
    with pytest.raises(InvalidSpec, match="app 'notebook' is not defined in a file"):
        namespace["app"].deploy()  # type: ignore[attr-defined]  # made by exec
