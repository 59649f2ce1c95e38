"""What processes print is read in portions, kept in order, and lets go of its pipe."""

from __future__ import annotations

import asyncio
import os

import pytest

from lambent.engines.base import TAIL_BYTES, WorkerGone
from lambent.engines.logs import DRAIN_BYTES, LogPipe
from tests.support.engine_stages import LocalStage, Play, Scenery, ask, eventually
from tests.support.patience import PATIENT_S


def test_everything_arrives_in_order_and_the_tail_is_the_end_of_it(play: Play) -> None:
    async def story() -> None:
        heard: list[bytes] = []
        pipe = LogPipe(on_chunk=heard.append)
        os.write(pipe.writing_fd, b"before\n")
        assert pipe.tail() == b"before\n"
        pipe.begin()
        text = b"".join(b"%d\n" % number for number in range(4000))
        os.write(pipe.writing_fd, text)
        assert pipe.tail() == text[-TAIL_BYTES:]
        assert b"".join(heard) == b"before\n" + text
        assert b"" not in heard
        pipe.close()
        assert heard[-1] == b"", "whoever listens hears that a last line without its newline is whole"

    play(story)


def test_the_pipe_ends_with_the_last_who_holds_it(play: Play) -> None:
    async def story() -> None:
        heard: list[bytes] = []
        pipe = LogPipe(on_chunk=heard.append)
        other = os.dup(pipe.writing_fd)
        pipe.hand_over()
        os.write(other, b"late")
        os.close(other)
        await eventually(lambda: heard == [b"late", b""])
        assert pipe.tail() == b"late"
        pipe.close()

    play(story)


def test_a_process_that_prints_without_end_does_not_hold_up_who_asks_for_the_tail(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("flood"))
        calling = asyncio.ensure_future(worker.call(ask(), b"{}"))
        await scenery.heard.until("flood" * 1000)
        for _ in range(50):
            assert len(worker.printed()) == TAIL_BYTES
            await asyncio.sleep(0)
        worker.kill()
        await asyncio.wait([calling])
        assert isinstance(calling.exception(), WorkerGone)

    real.write(
        "flood",
        "import os\ndef handler(event, context):\n"
        "    while True:\n        os.write(1, b'flood' * 10000 + b'\\n')\n",
    )
    real.play(story, load_timeout_s=PATIENT_S)


def test_asking_for_the_tail_takes_no_more_than_a_pipe_holds(play: Play) -> None:
    async def story() -> None:
        pipe = LogPipe(on_chunk=lambda _: refill())
        taken = 0

        def refill() -> None:
            nonlocal taken
            taken += 1
            if pipe.writing_fd >= 0:
                os.write(pipe.writing_fd, b"x" * 4096)

        os.write(pipe.writing_fd, b"x" * 4096)
        assert pipe.tail() == b"x" * TAIL_BYTES
        assert taken == DRAIN_BYTES / 4096
        pipe.close()

    play(story)


def test_what_was_printed_last_before_a_death_is_kept(real: LocalStage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("last_words"))
        with pytest.raises(WorkerGone) as gone:
            await worker.call(ask(), b"{}")
        assert gone.value.exit.code == 6
        assert worker.printed().endswith(b"the end\n")
        assert "the end" in scenery.heard.text

    real.write(
        "last_words",
        "import os\ndef handler(event, context):\n"
        "    os.write(2, b'x' * 50000 + b'the end\\n')\n    os._exit(6)\n",
    )
    real.play(story, load_timeout_s=PATIENT_S)
