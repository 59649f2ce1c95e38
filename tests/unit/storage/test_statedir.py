"""The private files of the state directory: whole or not there, and their owner's alone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from lambent.core.errors import StorageBroken
from lambent.storage.statedir import load_master, withdrawn


def test_the_master_key_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    master = load_master(path)
    assert load_master(path) == master
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["master.key"]


def test_a_start_that_was_killed_before_leaves_no_half_master_key(tmp_path: Path) -> None:
    (tmp_path / "master.key.new").write_bytes(b"torn")
    assert len(load_master(tmp_path / "master.key")) == 32


def test_a_damaged_master_key_is_not_replaced_in_silence(tmp_path: Path) -> None:
    (tmp_path / "master.key").write_bytes(b"torn")
    with pytest.raises(StorageBroken, match="4 bytes"):
        load_master(tmp_path / "master.key")


def test_a_server_on_a_disk_that_has_failed_ends_as_any(tmp_path: Path) -> None:
    (tmp_path / "server.json").mkdir()  # what cannot be removed
    with withdrawn(tmp_path):
        pass
