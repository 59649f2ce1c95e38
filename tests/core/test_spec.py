"""What a user asks for: settings are applied or refused with a message that says what to do."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.errors import InvalidSpec
from lambent.core.gating import EXAMPLES
from lambent.core.settings import BOUNDS, SETTINGS, SIZE_UNITS, check_settings, parse_size, with_settings
from lambent.core.spec import (
    MIB,
    DeploymentSpec,
    ForkUnsafe,
    Interface,
    Keep,
    Kind,
    Program,
    checked,
    new_spec,
)

SPEC = DeploymentSpec(name="digits", kind=Kind.FUNCTION, env={"MODE": "fast", "LEVEL": "1"})


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("1000", 1000),
        (1000, 1000),
        ("7B", 7),
        ("256MiB", 256 * MIB),
        ("  256 MiB ", 256 * MIB),
        ("1.5 GiB", 1536 * MIB),
        ("2TiB", 2 * 2**40),
        ("1KB", 1000),
        ("1MB", 10**6),
        ("0.5GB", 5 * 10**8),
        ("1TB", 10**12),
    ],
)
def test_a_size_is_read(text: str | int, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "MiB", "256 mib", "256M", "-1", "1e9", "nan", "1.5.2GiB", "٣MiB", "9" * 400, "1 GiB 2"]
)
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match="is not a size: write a number with B, KiB, MiB or GiB"):
        parse_size(text)


@given(st.integers(0, 10**15), st.sampled_from(sorted(SIZE_UNITS)))
def test_a_whole_size_is_exact_in_every_unit(count: int, unit: str) -> None:
    assert abs(parse_size(f"{count}{unit}") - count * SIZE_UNITS[unit]) <= count * SIZE_UNITS[unit] * 2**-52


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        ("memory", "256MiB", "memory_bytes", 256 * MIB),
        ("memory", 64 * MIB, "memory_bytes", 64 * MIB),
        ("memory", "16MiB", "memory_bytes", 16 * MIB),
        ("memory", "1TiB", "memory_bytes", 2**40),
        ("timeout_s", "30", "timeout_s", 30.0),
        ("timeout_s", 0.05, "timeout_s", 0.05),
        ("keep_alive_s", 0, "keep_alive_s", 0.0),
        ("hold_s", "1.5", "hold_s", 1.5),
        ("template_keep_s", 0, "template_keep_s", 0.0),
        ("workers_min", "2", "workers_min", 2),
        ("workers_max", 8.0, "workers_max", 8),
        ("concurrency", 1, "concurrency", 1),
        ("queue_depth_max", "1e3", "queue_depth_max", 1000),
        ("description", "reads digits", "description", "reads digits"),
        ("description", 7, "description", "7"),
    ],
)
def test_a_setting_is_applied(key: str, value: object, field: str, expected: object) -> None:
    changed = getattr(with_settings(SPEC, {key: value}), field)
    assert changed == expected
    assert type(changed) is type(expected)


def test_variables_are_added_and_replaced_and_the_others_stay() -> None:
    changed = with_settings(SPEC, {"env.MODE": "slow", "env.BATCH": 8, "env._X1": ""})
    assert changed.env == {"MODE": "slow", "LEVEL": "1", "BATCH": "8", "_X1": ""}
    assert SPEC.env == {"MODE": "fast", "LEVEL": "1"}


def test_no_settings_change_nothing() -> None:
    assert with_settings(SPEC, {}) == SPEC


@pytest.mark.parametrize(("value", "kept"), [("auto", Keep.AUTO), ("primed", Keep.PRIMED), ("hot", Keep.HOT)])
def test_what_is_kept_ready_is_one_of_three_words(value: str, kept: Keep) -> None:
    assert with_settings(SPEC, {"keep": value}).keep is kept
    for wrong in ("cold", "", 1, ["hot"], None):
        with pytest.raises(InvalidSpec, match="is none of auto, primed, hot"):
            with_settings(SPEC, {"keep": wrong})


@pytest.mark.parametrize("word", [*ForkUnsafe])
def test_whether_an_unsafe_template_is_forked_is_one_of_two_words(word: ForkUnsafe) -> None:
    assert SPEC.fork_unsafe is ForkUnsafe.REFUSE
    assert with_settings(SPEC, {"fork_unsafe": word.value}).fork_unsafe is word
    for wrong in ("yes", "", 1, True, None):
        with pytest.raises(InvalidSpec, match=r"fork_unsafe=.* is none of refuse, allow"):
            with_settings(SPEC, {"fork_unsafe": wrong})


@pytest.mark.parametrize(
    ("word", "program"),
    [
        ("native", Program.NATIVE),
        ("provided", Program.PROVIDED),
        ("provided.al2", Program.PROVIDED),
        ("provided.al2023", Program.PROVIDED),
        ("awslambdaric", Program.AWSLAMBDARIC),
    ],
)
def test_what_runs_a_function_is_said_in_one_word(word: str, program: Program) -> None:
    assert SPEC.runtime is Program.NATIVE
    assert with_settings(SPEC, {"runtime": word}).runtime is program
    for wrong in ("python3.12", "", "Provided", 1, None):
        with pytest.raises(InvalidSpec, match=r"runtime=.* is none of native, provided, awslambdaric"):
            with_settings(SPEC, {"runtime": wrong})


@pytest.mark.parametrize("program", [Program.PROVIDED, Program.AWSLAMBDARIC])
@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (new_spec("it", Kind.MODEL, entrypoint="app:It"), "'it' is a model that is called by event"),
        (new_spec("it", Kind.JOB, entrypoint="app:it"), "'it' is a job that is called by event"),
        (
            new_spec("it", Kind.FUNCTION, interface=Interface.ASGI, entrypoint="app:it"),
            "'it' is a function that is called by asgi",
        ),
        (with_settings(SPEC, {"fork_unsafe": "allow"}), "no fork of it would be one"),
    ],
)
def test_a_process_of_its_own_runs_functions_of_events_alone(
    spec: DeploymentSpec, said: str, program: Program
) -> None:
    with pytest.raises(InvalidSpec, match=said):
        with_settings(spec, {"runtime": program.value})


def test_settings_are_checked_before_it_is_known_what_they_are_of() -> None:
    for settings in ({"max_batch": 8}, {"runtime": "provided"}, {}):
        check_settings("it", settings)
    for name, settings in (("it", {"runtime": "provided", "max_batch": 8}), ("It!", {}), ("it", {"x": 1})):
        with pytest.raises(InvalidSpec):
            check_settings(name, settings)


KNOWN = ", ".join(SETTINGS)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("timeout", 3, f"unknown setting 'timeout'; known are {KNOWN}"),
        ("env.", "x", f"unknown setting 'env.'; known are {KNOWN}"),
        ("memory", "lots", "'lots' is not a size: write a number with B, KiB, MiB or GiB, such as 256MiB"),
        ("accept", "right", f"accept='right' cannot be read at 'right'; write {EXAMPLES}"),
        ("schema", "[]", 'schema is a JSON Schema of an object: {"type": "object", "properties": ...}'),
        ("memory", True, "memory=True is not a size"),
        ("memory", 1.5, "memory=1.5 is not a size"),
        ("memory", "8MiB", "memory='8MiB' is out of range: 16MiB to 1TiB"),
        ("memory", "2TiB", "memory='2TiB' is out of range: 16MiB to 1TiB"),
        ("memory", -1, "memory=-1 is out of range: 16MiB to 1TiB"),
        ("timeout_s", "soon", "timeout_s='soon' is not a number"),
        ("timeout_s", None, "timeout_s=None is not a number"),
        ("timeout_s", True, "timeout_s=True is not a number"),
        ("timeout_s", "nan", "timeout_s='nan' is not a number"),
        ("timeout_s", float("inf"), "timeout_s=inf is not a number"),
        ("timeout_s", 0, "timeout_s=0 is out of range: 0.05 to 604800"),
        ("keep_alive_s", -1, "keep_alive_s=-1 is out of range: 0 to 604800"),
        ("workers_max", 0, "workers_max=0 is out of range: 1 to 256"),
        ("workers_max", 1.5, "workers_max=1.5 is not a whole number"),
        ("workers_max", "two", "workers_max='two' is not a whole number"),
        ("workers_max", "inf", "workers_max='inf' is not a whole number"),
        ("workers_max", [1], "workers_max=[1] is not a whole number"),
        ("concurrency", 2000, "concurrency=2000 is out of range: 1 to 1000"),
        ("queue_depth_max", 1e9, "queue_depth_max=1e+09 is out of range: 1 to 100000"),
        ("workers_min", 5, "workers_min=5 is above workers_max=4"),
        ("env.A=B", "x", "'A=B' is not the name of a variable: use letters, digits and '_'"),
        ("env.1A", "x", "'1A' is not the name of a variable: use letters, digits and '_'"),
        ("env.A", "x\0y", "env.A holds a zero byte, which no process can be given"),
    ],
)
def test_a_bad_setting_is_refused_with_its_reason(key: str, value: object, message: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        with_settings(SPEC, {key: value})
    assert refused.value.message == message


def test_a_message_does_not_grow_with_what_it_complains_about() -> None:
    for settings in ({"workers_max": 10**400}, {"memory": "9" * 5000}, {"timeout_s": "x" * 5000}):
        with pytest.raises(InvalidSpec) as refused:
            with_settings(SPEC, settings)
        assert len(refused.value.message) < 160


def test_workers_are_compared_after_all_settings_are_applied() -> None:
    changed = with_settings(SPEC, {"workers_min": 8, "workers_max": 8})
    assert (changed.workers_min, changed.workers_max) == (8, 8)


@pytest.mark.parametrize("name", ["a", "7", "digits", "My_model-2", "_a", "a_", "a-", "a" * 64])
def test_a_name_is_accepted(name: str) -> None:
    assert new_spec(name, Kind.MODEL).name == name


@pytest.mark.parametrize("name", ["", "-a", "a.b", "a/b", "a b", "é", "a" * 65, "digits\n", "a\0", ".."])
def test_a_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        new_spec(name, Kind.MODEL)
    assert refused.value.message.endswith(
        "is not a name: use 1 to 64 of A-Z, a-z, 0-9, '-' and '_', not starting with '-'"
    )


def test_a_job_gets_more_time_and_memory_than_a_function() -> None:
    job, function = new_spec("fit", Kind.JOB), new_spec("hello", Kind.FUNCTION)
    assert (job.timeout_s, job.retries) == (3600.0, 3)
    assert job.memory_bytes > function.memory_bytes


@pytest.mark.parametrize("kind", list(Kind))
def test_defaults_lie_within_their_own_bounds(kind: Kind) -> None:
    spec = new_spec("x", kind)
    for field, (low, high) in BOUNDS.items():
        assert low <= getattr(spec, field) <= high, field


anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers(), max_size=2)
)
keys = st.sampled_from([*sorted(BOUNDS), "memory", "description", "env.A"]) | st.text(string.printable)


@given(st.dictionaries(keys, anything, max_size=4))
def test_whatever_is_set_comes_out_within_bounds_or_is_refused(settings: dict[str, object]) -> None:
    try:
        spec = with_settings(SPEC, settings)
    except InvalidSpec:
        return
    assert checked(spec) is spec
    for field, (low, high) in BOUNDS.items():
        assert low <= getattr(spec, field) <= high
    assert all("\0" not in text for text in spec.env.values())
