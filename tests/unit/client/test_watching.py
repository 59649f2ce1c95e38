"""When a target's files have changed, and when they are still being written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lambent.client.watching import RESCAN_S, Watch


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("VALUE = 1\n")
    (tmp_path / "unrelated.py").write_text("VALUE = 1\n")
    file = tmp_path / "app.py"
    file.write_text("import beside\ndef handler(event, context): ...\n")
    return file


def settled(watch: Watch, now_s: float = 0.0) -> bool:
    """Whether it is worth a deploy once nobody writes any more."""
    return any([watch.look(now_s), watch.look(now_s)])


def save(file: Path, text: str) -> None:
    """As careful editors do: beside it, then in its place."""
    draft = file.with_suffix(".tmp")
    draft.write_text(text)
    draft.replace(file)


@pytest.mark.parametrize("target", ["{file}", "{file}:handler"])
def test_a_save_is_seen_once_in_the_file_and_in_what_it_imports(code: Path, target: str) -> None:
    watch = Watch(target.format(file=code), now_s=0)
    assert not settled(watch)
    for file in (code, code.with_name("beside.py")):
        file.write_text(file.read_text() + "MORE = 1\n")
        assert settled(watch)
        assert not settled(watch)
    code.with_name("unrelated.py").write_text("VALUE = 2\n")
    assert not settled(watch, now_s=2 * RESCAN_S)


def test_a_file_that_is_still_being_written_is_waited_for(code: Path) -> None:
    watch = Watch(code, now_s=0)
    for number in range(5):
        code.write_text(f"A = 'a{'a' * number}'\n")
        assert not watch.look(0)
    assert watch.look(0)


def test_a_save_by_renaming_is_seen_though_size_and_time_are_the_same(code: Path) -> None:
    watch = Watch(code, now_s=0)
    before = code.stat()
    save(code, code.read_text().replace("handler", "nandler"))
    os.utime(code, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert settled(watch)


def test_a_file_that_is_gone_for_a_moment_is_seen_when_it_is_there_again(code: Path) -> None:
    watch = Watch(code, now_s=0)
    text = code.read_text()
    code.unlink()
    assert not watch.look(0)
    code.write_text(text + "MORE = 1\n")
    assert not watch.look(0)
    assert watch.look(0)


def test_while_there_is_a_syntax_error_its_mending_is_watched_for(code: Path) -> None:
    beside = code.with_name("beside.py")
    watch = Watch(code, now_s=0)
    beside.write_text("VALUE = (\n")
    assert settled(watch)  # what is wrong is to be told
    beside.write_text("VALUE = 3\n")
    assert settled(watch)


def test_a_target_that_is_broken_from_the_beginning_is_watched(tmp_path: Path) -> None:
    code = tmp_path / "app.py"
    code.write_text("def (\n")
    watch = Watch(code, now_s=0)
    code.write_text("def handler(event, context): ...\n")
    assert settled(watch)


def test_a_file_that_is_new_in_a_folder_is_found_with_the_next_search(tmp_path: Path) -> None:
    (tmp_path / "lambent.toml").write_text('[app]\ntarget = "app.py"\n')
    (tmp_path / "app.py").write_text("def handler(event, context): ...\n")
    watch = Watch(tmp_path, now_s=0)
    (tmp_path / "new.txt").write_text("new")
    assert not settled(watch, now_s=0)
    assert settled(watch, now_s=RESCAN_S)
    (tmp_path / "lambent.toml").write_text('[app]\ntarget = "app.py:handler"\n')
    assert settled(watch, now_s=RESCAN_S)
