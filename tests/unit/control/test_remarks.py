"""What was said of a model when it was prepared goes along to where its operator looks."""

from pathlib import Path

import msgspec

from lambent.control.planning import plan_of
from lambent.core.spec import DeploymentSpec, Kind
from lambent.storage.artifacts import FileArtifacts
from lambent.storage.base import Revision
from lambent.wire.oneshot import SERVING_FILE, Serving


def test_why_a_model_is_not_served_in_the_best_way_is_in_its_plan(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    file = folder / SERVING_FILE
    file.parent.mkdir(parents=True)
    why = "served by Keras itself, because its twin says something else"
    said = Serving(adapter="keras", file="a.keras", served_by="keras", served_file="a.keras", reason=why)
    file.write_bytes(msgspec.json.encode(said))
    artifacts = FileArtifacts.open(tmp_path / "artifacts")
    facts = artifacts.ingest_tree(folder)
    revision = Revision(
        id="r", project="p", deployment="a", number=1, spec=DeploymentSpec(name="a", kind=Kind.MODEL),
        code_digest="", model_digest=facts.digest, model_number=1, created_unix_ms=0,
    )  # fmt: skip
    assert plan_of(revision, artifacts).remarks == (why,)
