"""Replicate's and RunPod's shapes: whatever was asked and whatever came of it can be shown."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lambent.wire import replicate, runpod
from lambent.wire.faces import Face, FaceKind, Filed, State, came_of, face_as_text, face_from

faces = st.builds(
    Face,
    kind=st.sampled_from(FaceKind),
    model=st.text(max_size=9),
    base=st.text(max_size=9),
    wraps=st.booleans(),
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["input", "output", "error", "status", "detail", "logs", "metrics", "errorMessage"]
            ),
            inner,
        ),
    ),
    max_leaves=8,
)
bodies = st.one_of(st.binary(max_size=40), json_values.map(msgspec.json.encode))
types = st.sampled_from(["", "application/json", "text/plain; charset=utf-8", "image/png", "\x00"])
filed = st.builds(
    Filed,
    id=st.uuids().map(str),
    deployment=st.just("f"),
    state=st.sampled_from(State).map(str),
    face=faces,
    body=bodies,
    result=bodies,
    result_type=types,
    error=st.text(max_size=9),
    created_unix_ms=st.integers(0, 4_000_000_000_000),
    ended_unix_ms=st.one_of(st.none(), st.integers(0, 4_000_000_000_000)),
)


@given(filed)
def test_whatever_came_of_it_is_shown_as_json_with_a_status_of_the_api(one: Filed) -> None:
    shown = json.loads(msgspec.json.encode(replicate.prediction(one)))
    assert shown["status"] in replicate.STATUSES.values()
    assert (shown["error"] is None) or isinstance(shown["error"], str)
    job = json.loads(msgspec.json.encode(runpod.job(one)))
    assert job["status"] in {*runpod.STATUSES.values(), "TIMED_OUT"}
    assert runpod.pieces_of(came_of(one).output)


@given(faces)
def test_in_whose_words_it_was_asked_is_kept(face: Face) -> None:
    assert face_from(face_as_text(face)) == face
    assert face_from(face_as_text(None)) is None


@given(st.text(max_size=60))
def test_no_path_is_too_odd(path: str) -> None:
    for pattern, prefix in ((replicate.PATH, "/v1/"), (runpod.PATH, runpod.PREFIX)):
        match = pattern.fullmatch(prefix + path)
        assert match is None or match.string.startswith(prefix)
