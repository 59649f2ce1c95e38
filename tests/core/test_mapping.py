"""By what the runs of a map are known again, and what is said where some failed."""

from __future__ import annotations

import pytest

from lambent.core.errors import CallFailed
from lambent.core.mapping import MapEnd, MapFailed, item_key, map_key, values_of


def test_an_item_is_known_again_by_its_map_its_place_and_its_parameters() -> None:
    same = item_key("k", 1, {"a": 1, "b": 2})
    assert same == item_key("k", 1, {"b": 2, "a": 1})
    others = [
        item_key("l", 1, {"a": 1, "b": 2}),
        item_key("k", 2, {"a": 1, "b": 2}),
        item_key("k", 1, {"a": 1}),
    ]
    assert len({same, *others}) == 4
    assert item_key("", 1, {"a": 1}) == ""


def test_the_maps_after_a_checkpoint_are_others_than_those_before_it() -> None:
    keys = [map_key(None, 1), map_key(None, 2), map_key(0, 1), map_key(1, 1)]
    assert len(set(keys)) == len(keys)


def test_where_one_of_many_fails_the_others_are_told_with_it() -> None:
    good = MapEnd(run="a", index=0, returned=7)
    bad = MapEnd(run="b", index=1, error=CallFailed("fit", "killed", "the worker is gone"))
    assert values_of([good, good]) == [7, 7]
    with pytest.raises(MapFailed, match="1 of 2 runs failed, the first is number 1: fit: killed") as seen:
        values_of([good, bad])
    assert seen.value.ended == (good, bad)
    with pytest.raises(CallFailed):
        _ = bad.value
