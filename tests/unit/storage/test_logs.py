"""Logs take whatever a process prints, stay bounded, and never hold up whoever writes."""

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from lambent.engines.base import LogSink
from lambent.storage.logs import UNFINISHED_MAX, DeploymentLogs
from lambent.storage.logs_lines import LINE_BYTES_MAX, LineJoiner, cleaned
from lambent.storage.logs_reader import READER_BYTES_MAX
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.patience import PATIENT_S
from tests.support.virtual_time import ManualClock

STAMP = "2023-11-14T22:13:20"  # when a ManualClock starts


def plan(deployment: str = "hello", project: str = "default") -> RevisionPlan:
    return RevisionPlan(
        revision="r", deployment=deployment, project=project, number=1, runtime=Runtime.HANDLER
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def logs(tmp_path: Path, clock: ManualClock) -> DeploymentLogs:
    return DeploymentLogs(tmp_path / "logs", clock)


def texts(lines: list[str]) -> list[str]:
    """What was printed, without time and worker."""
    return [line.split(" ", 2)[2] for line in lines]


def test_it_is_a_log_sink(logs: DeploymentLogs) -> None:
    sink: LogSink = logs
    assert sink is logs


def test_a_line_says_when_and_who(logs: DeploymentLogs, clock: ManualClock) -> None:
    logs.write(plan(), "w1", b"first\n")
    clock.advance(0.042)
    logs.write(plan(), "w2", b"zweit\xc3\xa4r\n\n")
    assert logs.tail("default", "hello", 10) == [
        f"{STAMP}.000Z w1 first",
        f"{STAMP}.042Z w2 zweitär",
        f"{STAMP}.042Z w2 ",
    ]


def test_portions_of_a_line_are_joined_for_each_worker(logs: DeploymentLogs) -> None:
    for worker, chunk in [
        ("w1", b"one "),
        ("w2", b"two "),
        ("w1", b"and \xc3"),
        ("w2", b"end\n"),
        ("w1", b"\xa4\n"),
    ]:
        logs.write(plan(), worker, chunk)
    assert [line.split(" ", 1)[1] for line in logs.tail("default", "hello", 10)] == [
        "w2 two end",
        "w1 one and ä",
    ]


def test_a_line_that_is_not_finished_comes_last(logs: DeploymentLogs) -> None:
    logs.write(plan(), "w1", b"whole\nhalf")
    assert texts(logs.tail("default", "hello", 10)) == ["whole", "half"]
    assert texts(logs.tail("default", "hello", 1)) == ["half"]
    logs.write(plan(), "w1", b" and whole\n")
    assert texts(logs.tail("default", "hello", 10)) == ["whole", "half and whole"]


def test_the_end_of_a_workers_output_ends_its_line(logs: DeploymentLogs) -> None:
    logs.write(plan(), "w1", b"last words")
    logs.write(plan(), "w1", b"")
    logs.write(plan(), "w1", b"")
    logs.write(plan(), "w1", b"of its namesake\n")
    assert texts(logs.tail("default", "hello", 10)) == ["last words", "of its namesake"]


def test_no_more_than_so_many_lines_are_kept_unfinished(logs: DeploymentLogs) -> None:
    for number in range(UNFINISHED_MAX + 3):
        logs.write(plan(), f"w{number}", b"begun")
    written = (logs_file(logs)).read_text().splitlines()
    assert [line.split(" ")[1] for line in written] == ["w0", "w1", "w2"]


def test_closing_keeps_what_was_not_finished(
    logs: DeploymentLogs, tmp_path: Path, clock: ManualClock
) -> None:
    logs.write(plan(), "w1", b"half")
    logs.close()
    assert texts(DeploymentLogs(tmp_path / "logs", clock).tail("default", "hello", 10)) == ["half"]


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        pytest.param(b"a\tb", "a\tb", id="a tab stays"),
        pytest.param(b"\x1b[1;31mred\x1b[0m", "red", id="colours go"),
        pytest.param(b"\x1b]0;title\x07text", "text", id="a window's title goes"),
        pytest.param(b"a\x00b\x07c\x7fd\xc2\x85e", "abcde", id="control characters go"),
        pytest.param(b"\x1b", "", id="a lone escape goes"),
        pytest.param(b"\xff\xfe", "\ufffd\ufffd", id="what is no text is replaced"),
        pytest.param("𝄞 ünï".encode(), "𝄞 ünï", id="text stays"),
    ],
)
def test_what_is_shown_of_a_line(printed: bytes, shown: str) -> None:
    assert cleaned(printed) == shown
    assert LineJoiner().feed(printed + b"\n") == [shown]


def test_of_a_progress_bar_the_last_state_is_kept() -> None:
    joiner = LineJoiner()
    for percent in range(100):
        assert joiner.feed(b"\r%d %%" % percent) == []
        assert joiner.unfinished == f"{percent} %"
    assert joiner.feed(b"\r\n") == ["99 %"]
    assert joiner.feed(b"dos\r") == []
    assert joiner.feed(b"\nunix\n") == ["dos", "unix"]


def test_a_long_line_comes_in_pieces_of_whole_characters() -> None:
    line = "ä" * LINE_BYTES_MAX
    pieces = LineJoiner().feed(f"x{line}\n".encode())
    assert "".join(pieces) == f"x{line}"
    assert all(len(piece.encode()) <= LINE_BYTES_MAX for piece in pieces)


def test_a_line_without_end_does_not_gather_in_memory() -> None:
    joiner = LineJoiner()
    given_back = sum(len(line) for _ in range(100) for line in joiner.feed(b"x" * 10_000))
    assert 1_000_000 - given_back <= LINE_BYTES_MAX


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_how_output_is_cut_into_portions_does_not_matter(chunks: list[bytes]) -> None:
    joiner, whole = LineJoiner(), LineJoiner()
    lines = [line for chunk in chunks for line in joiner.feed(chunk)] + joiner.end()
    assert lines == whole.feed(b"".join(chunks)) + whole.end()


def test_a_log_turns_over_and_keeps_one_old_file(tmp_path: Path, clock: ManualClock) -> None:
    logs = DeploymentLogs(tmp_path / "logs", clock, file_bytes_max=1000)
    for number in range(200):
        logs.write(plan(), "w1", b"line %d\n" % number)
    files = sorted((tmp_path / "logs" / "default").iterdir())
    assert [file.name for file in files] == ["hello.log", "hello.log.1"]
    assert all(file.stat().st_size <= 1000 for file in files)
    kept = texts(logs.tail("default", "hello", 200))
    assert kept == [f"line {number}" for number in range(200 - len(kept), 200)]
    assert len(kept) > 25


def test_tail_reads_from_the_end_across_blocks_and_files(tmp_path: Path, clock: ManualClock) -> None:
    logs = DeploymentLogs(tmp_path / "logs", clock, file_bytes_max=300_000)
    for number in range(6000):
        logs.write(plan(), "w1", b"%d %s\n" % (number, b"x" * 40))
    for count in (1, 2, 700, 2500, 5000):
        found = texts(logs.tail("default", "hello", count))
        assert [int(line.split(" ")[0]) for line in found] == list(range(6000 - count, 6000))
    assert logs.tail("default", "hello", 0) == []
    assert logs.tail("default", "hello", -1) == []


def test_a_log_goes_on_after_a_restart(logs: DeploymentLogs, tmp_path: Path, clock: ManualClock) -> None:
    logs.write(plan(), "w1", b"before\n")
    logs.close()
    again = DeploymentLogs(tmp_path / "logs", clock)
    again.write(plan(), "w1", b"after\n")
    assert texts(again.tail("default", "hello", 10)) == ["before", "after"]


def test_projects_and_deployments_have_their_own(logs: DeploymentLogs) -> None:
    for project in ("default", "second"):
        for name in ("a", "b"):
            logs.write(plan(name, project), "w1", f"{project}/{name}\n".encode())
    assert texts(logs.tail("second", "a", 10)) == ["second/a"]
    assert logs.tail("second", "c", 10) == []


def test_many_deployments_do_not_use_up_the_file_descriptors(logs: DeploymentLogs) -> None:
    before = open_files()
    for turn in range(2):
        for number in range(300):
            logs.write(plan(f"d{number}"), "w1", b"line %d\n" % turn)
    assert open_files() - before <= 64
    assert texts(logs.tail("default", "d0", 10)) == ["line 0", "line 1"]
    logs.close()
    assert open_files() <= before


@pytest.mark.parametrize("name", ["../secret", "..", "", "a/b", "/etc/passwd"])
def test_a_name_does_not_lead_out_of_the_folder(logs: DeploymentLogs, tmp_path: Path, name: str) -> None:
    (tmp_path / "logs" / "default").mkdir(parents=True)
    secret = tmp_path / "logs" / "secret.log"
    secret.write_text("x y z\n")
    assert logs.tail("default", name, 10) == []
    logs.remove("default", name)
    assert secret.exists()

    async def nothing() -> list[str]:
        return [line async for line in logs.follow("default", name, 10)]

    assert asyncio.run(nothing()) == []


def test_a_full_disk_neither_raises_nor_tears_a_line(
    logs: DeploymentLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def full(file: int, lines: bytes) -> int:
        if len(lines) < 40:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, lines[:30])

    logs.write(plan(), "w1", b"before\n")
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        logs.write(plan(), "w1", b"x\n")
        logs.write(plan(), "w1", b"a part of this would fit, and is taken back\n")
    logs.write(plan(), "w1", b"after\n")
    assert texts(logs.tail("default", "hello", 10)) == ["before", "after"]
    assert logs.lost_lines == 2


def test_a_folder_that_cannot_be_made_does_not_raise(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    logs = DeploymentLogs(tmp_path / "logs", clock)
    logs.write(plan(), "w1", b"lost\n")
    assert logs.lost_lines == 1


def test_removing_forgets_files_and_what_was_not_finished(logs: DeploymentLogs, tmp_path: Path) -> None:
    logs.write(plan(), "w1", b"line\nhalf")
    logs.remove("default", "hello")
    logs.remove("default", "hello")
    assert logs.tail("default", "hello", 10) == []
    assert list((tmp_path / "logs" / "default").iterdir()) == []
    logs.write(plan(), "w1", b"anew\n")
    assert texts(logs.tail("default", "hello", 10)) == ["anew"]


# --- following


async def take(lines: AsyncIterator[str], count: int) -> list[str]:
    async with asyncio.timeout(PATIENT_S):
        return texts([await anext(lines) for _ in range(count)])


def test_a_reader_gets_what_was_and_what_comes_each_line_once(logs: DeploymentLogs) -> None:
    async def story() -> None:
        for number in range(5):
            logs.write(plan(), "w1", b"%d\n" % number)
        lines = logs.follow("default", "hello", 2)
        assert await take(lines, 2) == ["3", "4"]
        for number in range(5, 8):
            logs.write(plan(), "w1", b"%d\n" % number)
        assert await take(lines, 3) == ["5", "6", "7"]
        await lines.aclose()

    asyncio.run(story())


def test_a_reader_is_woken_by_a_line_of_another_thread(logs: DeploymentLogs) -> None:
    async def story() -> None:
        lines = logs.follow("default", "hello", 1)
        logs.write(plan(), "w1", b"before\n")
        assert await take(lines, 1) == ["before"]
        waiting = asyncio.ensure_future(take(lines, 1))
        await asyncio.sleep(0)
        await asyncio.to_thread(logs.write, plan(), "w1", b"news\n")
        assert await waiting == ["news"]
        await lines.aclose()

    asyncio.run(story())


def test_a_slow_reader_loses_the_oldest_lines_and_is_told(logs: DeploymentLogs) -> None:
    async def story() -> None:
        lines = logs.follow("default", "hello", 10)
        logs.write(plan(), "w1", b"first\n")
        assert await take(lines, 1) == ["first"]
        count = 2 * READER_BYTES_MAX // 1000
        for number in range(count):
            logs.write(plan(), "w1", b"%d %s\n" % (number, b"x" * 970))
        note = await anext(lines)
        assert note.endswith("lines are missing here: this reader was too slow")
        missing = int(note.split(" ")[1])
        assert 0 < missing < count
        assert (await take(lines, 1))[0].startswith(f"{missing} x")
        await lines.aclose()

    asyncio.run(story())


def test_removing_a_log_ends_its_readers(logs: DeploymentLogs) -> None:
    async def story() -> None:
        logs.write(plan(), "w1", b"line\n")
        lines = logs.follow("default", "hello", 10)
        assert await take(lines, 1) == ["line"]
        await asyncio.to_thread(logs.remove, "default", "hello")
        async with asyncio.timeout(PATIENT_S):
            assert [line async for line in lines] == []

    asyncio.run(story())


def test_closing_ends_readers_with_their_last_line(logs: DeploymentLogs) -> None:
    async def story() -> None:
        lines = logs.follow("default", "hello", 10)
        logs.write(plan(), "w1", b"line\nlast words")
        assert await take(lines, 1) == ["line"]
        logs.close()
        async with asyncio.timeout(PATIENT_S):
            assert texts([line async for line in lines]) == ["last words"]

    asyncio.run(story())


def test_a_reader_that_leaves_is_forgotten(logs: DeploymentLogs) -> None:
    async def story() -> None:
        logs.write(plan(), "w1", b"line\n")
        for leave in (leave_by_closing, leave_by_cancelling):
            await leave(logs.follow("default", "hello", 1))
            assert logs_readers(logs) == 0

    before = open_files()
    asyncio.run(story())
    logs.close()
    assert open_files() <= before


async def leave_by_closing(lines: AsyncGenerator[str, None]) -> None:
    await take(lines, 1)
    await lines.aclose()


async def leave_by_cancelling(lines: AsyncGenerator[str, None]) -> None:
    await take(lines, 1)
    waiting = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def logs_file(logs: DeploymentLogs) -> Path:
    return logs._path(("default", "hello"))  # noqa: SLF001  # where it is, is documented


def logs_readers(logs: DeploymentLogs) -> int:
    return sum(map(len, logs._readers.values()))  # noqa: SLF001  # nobody else can see that one is left over


def test_lines_from_a_time_on(tmp_path: Path, clock: ManualClock) -> None:
    logs = DeploymentLogs(tmp_path / "logs", clock, file_bytes_max=200_000)
    for number in range(5000):  # it turns over in the middle, and is longer than a block
        logs.write(plan(), "w-000000000001", f"line {number}\n".encode())
        clock.advance(0.001)
    everything = logs.since("default", "hello")
    assert texts(everything)[-1] == "line 4999"
    for number in (len(everything) - 1, len(everything) // 2, 1, 0):
        line = everything[number]
        assert logs.since("default", "hello", line[:23])[0] == line
    assert logs.since("default", "hello", "9") == []
    assert logs.since("default", "nobody") == []
    assert logs.size_bytes("default", "hello") > 200_000


def test_our_own_lines_end_what_a_worker_has_begun(logs: DeploymentLogs) -> None:
    logs.write(plan(), "w1", b"begun")
    logs.say(plan(), "w1", ["END", "REPORT"])
    logs.write(plan(), "w1", b"next\n")
    assert texts(logs.tail("default", "hello", 10)) == ["begun", "END", "REPORT", "next"]


def test_a_workers_part_has_the_name_that_it_is_told(logs: DeploymentLogs) -> None:
    named = msgspec.structs.replace(plan(), log_stream="2026/11/23/[3]abc")
    logs.write(named, "w-0123456789ab", b"x\n")
    assert logs.streams("default", "hello") == {"w-0123456789ab": "2026/11/23/[3]abc0123456789ab"}
