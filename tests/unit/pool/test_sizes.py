"""A census tells what would be free without a revision, and its parts add up to what the kernel counted."""

from __future__ import annotations

from lambent.core.spec import MIB
from lambent.engines.base import ProcessFacts
from lambent.pool.sizes import PRIMED_BYTES, Sizes
from lambent.wire.process import RevisionPlan, Runtime


def plan(revision: str, *, mapped_mib: int = 0, imports: tuple[str, ...] = ("numpy",)) -> RevisionPlan:
    return RevisionPlan(
        revision=revision,
        deployment=revision,
        project="default",
        number=1,
        runtime=Runtime.MODEL,
        imports=imports,
        mapped_bytes=mapped_mib * MIB,
    )


def process(
    role: str, revision: str, pss_mib: int, private_mib: int, *imports: str, shared_mib: int = 0
) -> ProcessFacts:
    return ProcessFacts(
        pid=1,
        role=role,
        revision=revision,
        pss_bytes=pss_mib * MIB,
        private_bytes=private_mib * MIB,
        shared_bytes=shared_mib * MIB,
        imports=imports,
    )


def test_a_template_alone_takes_what_only_it_maps_and_the_environment_the_rest() -> None:
    sizes = Sizes()
    # 40 MiB of packages that three processes share; each template has 10 of its own.
    census = [
        process("environment", "", 14, 1, "numpy"),
        process("template", "a", 23, 10),
        process("template", "b", 23, 10),
    ]
    sizes.learn(census, [plan("a"), plan("b")])
    assert sizes.primed_bytes(plan("a")) == 10 * MIB
    assert sizes.environment_bytes("numpy") == 40 * MIB
    assert (sizes.used_bytes, sizes.other_bytes) == (60 * MIB, 0)


def test_what_a_template_shares_with_its_workers_is_its_own() -> None:
    sizes = Sizes()
    # 30 MiB of packages in each of three processes; weights of 20 MiB in two of them; a worker writes 2.
    census = [
        process("environment", "", 11, 1, "numpy"),
        process("template", "a", 21, 1),
        process("worker", "a", 22, 2),
    ]
    sizes.learn(census, [plan("a")])
    assert sizes.worker_bytes("a") == 2 * MIB
    assert sizes.primed_bytes(plan("a")) == 21 * MIB
    assert sizes.environment_bytes("numpy") == 31 * MIB
    parked = [
        process(
            "parked" if one.role == "worker" else one.role,
            one.revision,
            one.pss_bytes // MIB,
            one.private_bytes // MIB,
            *one.imports,
        )
        for one in census
    ]
    sizes.learn(parked, [plan("a")])
    assert sizes.primed_bytes(plan("a")) == 23 * MIB


def test_the_first_worker_stands_in_the_place_of_the_one_that_was_parked() -> None:
    sizes = Sizes()
    home = process("environment", "", 11, 1, "numpy")
    sizes.learn([home, process("template", "a", 21, 1), process("parked", "a", 22, 2)], [plan("a")])
    sizes.learn([home, process("template", "a", 21, 1), process("worker", "a", 25, 5)], [plan("a")])
    assert sizes.environment_bytes("numpy") == 31 * MIB
    assert sizes.primed_bytes(plan("a")) == 23 * MIB
    assert (sizes.parked_bytes("a"), sizes.worker_bytes("a")) == (2 * MIB, 5 * MIB)
    smaller = [home, process("template", "a", 21, 1), process("worker", "a", 21, 1)]
    sizes.learn(smaller, [plan("a")])
    assert sizes.primed_bytes(plan("a")) == 22 * MIB
    sizes.learn([home, process("template", "a", 21, 1), process("parked", "a", 22, 2)], [plan("a")])
    assert sizes.primed_bytes(plan("a")) == 23 * MIB


def test_what_a_young_template_has_not_replaced_yet_makes_no_environment_larger() -> None:
    sizes = Sizes()
    # 40 MiB that eight processes share; 4 in each pair of template and worker, which have 2 each alone.
    # The last template was forked just now: 16 MiB, replaced in the others, it shares with its parent alone.
    pairs = [
        process(role, name, 9, 2, shared_mib=44)
        for name in ("a", "b", "c")
        for role in ("template", "worker")
    ]
    home = process("environment", "", 13, 0, "numpy", shared_mib=56)
    young = process("template", "d", 14, 1, shared_mib=56)
    sizes.learn([home, *pairs, young], [plan(name) for name in ("a", "b", "c", "d")])
    assert sizes.primed_bytes(plan("a")) == 6 * MIB
    assert sizes.environment_bytes("numpy") == 56 * MIB


def test_what_is_gone_is_remembered_and_what_is_not_deployed_forgotten() -> None:
    sizes = Sizes()
    sizes.learn([process("template", "a", 9, 9), process("template", "b", 5, 5)], [plan("a"), plan("b")])
    sizes.learn([], [plan("a")])
    assert sizes.primed_bytes(plan("a")) == 9 * MIB
    sizes.learn([], [])
    assert sizes.primed_bytes(plan("b")) == PRIMED_BYTES


def test_what_was_never_measured_is_taken_for_what_it_maps_and_a_little() -> None:
    sizes = Sizes()
    assert sizes.primed_bytes(plan("a", mapped_mib=500)) == PRIMED_BYTES + 500 * MIB
    sizes.learn([process("template", "a", 3, 3)], [plan("a")])
    assert sizes.primed_bytes(plan("b", mapped_mib=500)) == 503 * MIB


def test_what_belongs_to_nobody_planned_is_told_apart() -> None:
    sizes = Sizes()
    census = [
        process("environment", "", 10, 10, "torch"),
        process("worker", "job", 100, 100),
        process("worker", "a", 7, 7),
    ]
    sizes.learn(census, [plan("a")])
    assert (sizes.used_bytes, sizes.other_bytes) == (117 * MIB, 110 * MIB)
