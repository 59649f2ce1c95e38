"""Transformed data is bounded, and what is used stays."""

import os
from pathlib import Path

from lambent.storage.transforms import TransformCache


def make(folder: Path, key: str, *, size_bytes: int, used_s: int) -> Path:
    home = folder / key
    home.mkdir()
    (home / "x.npy").write_bytes(bytes(size_bytes))
    for suffix in (".json", ".transform.json"):
        (folder / f"{key}{suffix}").write_text("{}")
    os.utime(home, (used_s, used_s))
    return home


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = TransformCache(tmp_path / "kept", bytes_max=250)
    cache.open()
    one, two = cache.of("one"), cache.of("two")
    assert one != two
    homes = [make(one, "a", size_bytes=100, used_s=30), make(two, "b", size_bytes=100, used_s=10)]
    assert cache.prune() == 0
    homes.append(make(one, "c", size_bytes=100, used_s=20))
    assert cache.prune() == 1
    assert [home.exists() for home in homes] == [True, False, True]
    assert not [*two.iterdir()]
    assert len([*one.iterdir()]) == 6


def test_what_was_being_made_is_removed_when_the_next_server_starts(tmp_path: Path) -> None:
    cache = TransformCache(tmp_path, bytes_max=0)
    unfinished = cache.of("one") / "tmp-abc"
    unfinished.mkdir()
    (unfinished / "x.npy").write_bytes(b"x")
    assert cache.prune() == 0, "somebody may be making it"
    cache.open()
    assert not [*cache.of("one").iterdir()]
