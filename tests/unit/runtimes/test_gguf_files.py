"""What becomes of a GGUF file where llama.cpp is not installed, or is told what it cannot do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lambent.runtimes.adapters import files, gguf
from lambent.runtimes.adapters.predictor import BadModel


def test_who_has_no_llama_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(BadModel, match=r"pip install 'lambent\[gguf\]'"):
        files.prepare(tmp_path)


def test_the_names_of_what_a_model_class_has_are_those_of_the_skills() -> None:
    from lambent.runtimes.model import SKILLS
    from lambent.wire.skills import Skill

    assert tuple(Skill) == SKILLS
    assert {*gguf.SPEAKS, *gguf.EMBEDS} <= {*SKILLS}
