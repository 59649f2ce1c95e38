"""What the thermostat has learned survives a restart, and a file or a clock that is wrong does no harm."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from lambent.core.invocation import Status
from lambent.core.memories import ForecastMemory
from lambent.core.policies.base import PolicyName
from lambent.core.spec import MIB, Temperature
from lambent.pool import arrivals, notebook
from lambent.pool.arrivals import DeploymentMemory
from lambent.pool.learned import FORMAT, Learned, decoded, encoded
from lambent.pool.notebook import Notebook
from tests.support.node import Node, node
from tests.support.virtual_time import run

T = Temperature
PERIOD_S = 600.0
DAY_S = 86_400.0
YEAR_S = 365 * DAY_S


def book(n: Node, file: Path) -> Notebook:
    return Notebook(file, n.thermostat, n.clock)


async def call(n: Node, name: str = "timer") -> T:
    outcome = await n.dispatcher.invoke(n.invocation(name))
    assert outcome.status is Status.OK
    return outcome.temperature


class Learn(Protocol):
    """Writes what a first server has learned, and says how long that ran."""

    def __call__(self, file: Path, *, policy: PolicyName = ..., names: tuple[str, ...] = ...) -> float: ...


@pytest.fixture(scope="module")
def learn(tmp_path_factory: pytest.TempPathFactory) -> Learn:
    """Each such server runs once."""
    folder = tmp_path_factory.mktemp("learned")
    ran: dict[tuple[PolicyName, tuple[str, ...]], tuple[bytes, float]] = {}

    def copied(
        file: Path, *, policy: PolicyName = PolicyName.ECONOMIC, names: tuple[str, ...] = ("timer",)
    ) -> float:
        if (policy, names) not in ran:
            ran_s = first_server(folder / "learned.jsonl", policy=policy, names=names)
            ran[policy, names] = (folder / "learned.jsonl").read_bytes(), ran_s
        content, ran_s = ran[policy, names]
        file.write_bytes(content)
        return ran_s

    return copied


def first_server(
    file: Path, *, policy: PolicyName = PolicyName.ECONOMIC, names: tuple[str, ...] = ("timer",)
) -> float:
    """Each is called every ten minutes; it stops in the middle of that. How long it ran."""

    async def story() -> float:
        async with node(policy=policy) as n:
            for name in names:
                n.deploy(name, keep_alive_s=1)
            for _ in range(6):
                for name in names:
                    await call(n, name)
                await asyncio.sleep(PERIOD_S)
            for name in names:
                await call(n, name)
                await asyncio.sleep(0.5)
            await asyncio.sleep(PERIOD_S / 2)
            book(n, file).save()
            return n.clock.now_s()

    return run(story())


def deployed(
    n: Node, file: Path, ran_s: float, *, down_s: float, names: tuple[str, ...] = ("timer",)
) -> None:
    """The second server, `down_s` later by the wall clock."""
    n.clock.set_wall(ran_s + down_s)
    for name in names:
        n.deploy(name, keep_alive_s=1)
    book(n, file).load()


def primed(n: Node) -> int:
    return sum(n.pool.temperature(route.plan.revision) is T.PRIMED for route in n.routes.all())


@pytest.mark.parametrize("policy", [PolicyName.ECONOMIC, PolicyName.HYBRID])
def test_a_periodic_deployment_is_woken_ahead_after_a_restart(
    tmp_path: Path, learn: Learn, policy: PolicyName
) -> None:
    file = tmp_path / "learned.jsonl"
    ran_s = learn(file, policy=policy)

    async def story() -> None:
        async with node(policy=policy) as n:
            deployed(n, file, ran_s, down_s=60)
            await asyncio.sleep(120)
            assert n.pool.temperature("timer-1") is T.COLD  # its next call is two minutes off
            await asyncio.sleep(PERIOD_S / 2 - 60 - 120)
            assert await call(n) is T.PRIMED
            await asyncio.sleep(PERIOD_S)
            assert await call(n) is T.PRIMED

    run(story())


def test_sizes_and_wake_costs_are_known_after_a_restart(tmp_path: Path, learn: Learn) -> None:
    file = tmp_path / "learned.jsonl"
    ran_s = learn(file)

    async def story() -> None:
        async with node() as n:
            deployed(n, file, ran_s, down_s=1)
            before, _ = decoded(file.read_bytes())
            assert n.thermostat.memory().sizes == before.sizes
            assert n.thermostat.memory().costs == before.costs
            assert before.sizes.primed == {"timer-1": 4 * MIB}
            assert before.costs.loads.keys() <= {"timer-1"}

    run(story())


@pytest.mark.parametrize("policy", list(PolicyName))
def test_what_is_stored_is_what_is_read(tmp_path: Path, learn: Learn, policy: PolicyName) -> None:
    file = tmp_path / "learned.jsonl"
    names = ("timer", "other")
    ran_s = learn(file, policy=policy, names=names)

    async def story() -> Learned:
        async with node(policy=policy) as n:
            deployed(n, file, ran_s, down_s=0, names=names)
            return n.thermostat.memory()

    before, _ = decoded(file.read_bytes())
    after = run(story())
    assert [(one.project, one.name) for one in after.arrivals.deployments] == [
        ("default", "other"),
        ("default", "timer"),
    ]
    for one, other in zip(before.arrivals.deployments, after.arrivals.deployments, strict=True):
        assert one.memory.idle_s == pytest.approx(other.memory.idle_s, abs=1e-3)
    assert before.arrivals.crowd == after.arrivals.crowd
    assert after.arrivals.clock == before.arrivals.clock


def test_another_policy_s_memory_is_of_no_use_and_does_no_harm(tmp_path: Path, learn: Learn) -> None:
    file = tmp_path / "learned.jsonl"
    for policy in PolicyName:
        ran_s = learn(file, policy=policy)
        for other in PolicyName:
            run(_called_twice(file, ran_s, other))


async def _called_twice(file: Path, ran_s: float, policy: PolicyName) -> None:
    async with node(policy=policy) as n:
        deployed(n, file, ran_s, down_s=1)
        for _ in range(2):
            await call(n)
            await asyncio.sleep(30)


@pytest.mark.parametrize(
    "down_s",
    [-10 * DAY_S, -3600.0, -1.0, 30 * DAY_S, 60 * YEAR_S, -53 * YEAR_S],
    ids=["back by days", "back by an hour", "back by a second", "forward by days", "to 2083", "to 1970"],
)
def test_a_clock_that_was_set_between_two_runs_costs_no_more_than_one_cold_start(
    tmp_path: Path, learn: Learn, down_s: float
) -> None:
    file = tmp_path / "learned.jsonl"
    names = ("timer", *(f"f{number}" for number in range(6)))
    ran_s = learn(file, names=names)

    async def story() -> None:
        async with node() as n:
            deployed(n, file, ran_s, down_s=down_s, names=names)
            assert all(one.memory.idle_s >= 0 for one in n.thermostat.memory().arrivals.deployments)
            await asyncio.sleep(120)
            assert primed(n) == 0  # the next calls are more than a minute off; no flood
            await call(n)
            await asyncio.sleep(30)
            await n.pool.chill("timer-1", T.COLD)
            await asyncio.sleep(PERIOD_S - 30)
            assert await call(n) is T.PRIMED  # its period was not forgotten

    run(story())


def test_the_gap_that_nobody_watched_is_not_learned(tmp_path: Path, learn: Learn) -> None:
    file = tmp_path / "learned.jsonl"
    ran_s = learn(file)

    async def story() -> None:
        async with node() as n:
            deployed(n, file, ran_s, down_s=10 * PERIOD_S)
            before = n.thermostat.memory().arrivals.deployments[0].memory
            await asyncio.sleep(5)
            await call(n)
            await asyncio.sleep(5)
            after = n.thermostat.memory().arrivals.deployments[0].memory
            assert isinstance(before, ForecastMemory)
            assert isinstance(after, ForecastMemory)
            assert after.gaps.total == pytest.approx(before.gaps.total)
            assert after.idle_s < 10

    run(story())


def without_a_deployment(content: bytes) -> bytes:
    return content.splitlines(keepends=True)[0]


def with_head(change: Callable[[dict[str, object]], object]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        first, *rest = content.splitlines()
        head = json.loads(first)
        change(head)
        return b"\n".join((json.dumps(head).encode(), *rest))

    return changed


def with_line(change: Callable[[dict[str, object]], object]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        first, line, *rest = content.splitlines()
        memory = json.loads(line)
        change(memory["memory"])
        return b"\n".join((first, json.dumps(memory).encode(), *rest))

    return changed


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda _: b"\x00\xff\xfe nonsense \n", id="no JSON"),
        pytest.param(lambda content: content[: len(content) // 2], id="cut off"),
        pytest.param(without_a_deployment, id="a line is missing"),
        pytest.param(lambda content: content + b"{}\n", id="a line too many"),
        pytest.param(with_head(lambda head: head.update(format="0")), id="an older format"),
        pytest.param(with_head(lambda head: head.pop("sizes")), id="a part is missing"),
        pytest.param(
            with_head(lambda head: head.update(crowd={"arrivals": [], "exposed_s": []})), id="crowd"
        ),
        pytest.param(with_line(lambda one: one.update(idle_s=-5.0)), id="a negative time"),
        pytest.param(with_line(lambda one: one.update(idle_s=float("nan"))), id="not a number"),
        pytest.param(with_line(lambda one: one.update(trusts=[1.0])), id="one trust"),
        pytest.param(with_line(lambda one: one.update(trusts=[0.0] * 5)), id="no trust"),
        pytest.param(
            with_line(lambda one: one.update(gaps={"fine": {"99999": 1.0}, "coarse": {}, "total": 1.0})),
            id="bins of another grid",
        ),
    ],
)
def test_a_file_that_is_wrong_is_ignored_with_one_line(
    tmp_path: Path, learn: Learn, spoil: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "learned.jsonl"
    ran_s = learn(file)
    file.write_bytes(spoil(file.read_bytes()))
    caplog.clear()

    async def story() -> None:
        async with node() as n:
            deployed(n, file, ran_s, down_s=1)
            assert await call(n) is T.COLD
            await asyncio.sleep(30)
            assert len(n.thermostat.memory().arrivals.deployments) == 1
            book(n, file).save()
            decoded(file.read_bytes())

    run(story())
    assert [record.message for record in caplog.records] == ["learned_ignored"]


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "learned.jsonl"
    monkeypatch.setattr(arrivals, "REMEMBERED_MAX", 3)
    first_server(file, names=tuple(f"f{number}" for number in range(6)))
    learned, _ = decoded(file.read_bytes())
    # Those that were called last.
    assert {one.name for one in learned.arrivals.deployments} == {"f3", "f4", "f5"}


def test_a_file_beyond_its_maximum_is_neither_read_nor_written(
    tmp_path: Path, learn: Learn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "learned.jsonl"
    ran_s = learn(file)
    size_bytes = file.stat().st_size
    monkeypatch.setattr(notebook, "FILE_BYTES_MAX", size_bytes - 1)
    caplog.clear()

    async def story() -> None:
        async with node() as n:
            deployed(n, file, ran_s, down_s=1)
            assert n.thermostat.memory().arrivals.deployments == ()

    run(story())
    file.unlink()
    first_server(file)
    assert not file.exists()
    assert [record.message for record in caplog.records] == ["learned_ignored", "learned_not_saved"]


def test_a_disk_that_is_full_is_told_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with node() as n:
            n.deploy("timer")
            await call(n)
            kept = book(n, tmp_path / "missing" / "learned.jsonl")
            for _ in range(3):
                kept.save()
            assert await call(n) in (T.PRIMED, T.HOT)

    run(story())
    assert [record.message for record in caplog.records] == ["learned_not_saved"]


def test_the_file_says_what_format_it_has(tmp_path: Path) -> None:
    file = tmp_path / "learned.jsonl"
    first_server(file)
    head, line = file.read_bytes().splitlines()
    assert json.loads(head)["format"] == FORMAT
    assert json.loads(line)["name"] == "timer"
    assert file.stat().st_mode & 0o077 == 0
    learned, saved_unix_ms = decoded(file.read_bytes())
    assert encoded(learned, saved_unix_ms=saved_unix_ms) == file.read_bytes()
    assert isinstance(learned.arrivals.deployments[0], DeploymentMemory)
