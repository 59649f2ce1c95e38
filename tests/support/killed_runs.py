"""Jobs whose processes are killed: each goes on from the arena, in a new process, until one comes to its end.

Run as a program, in any environment that has the packages which the job and Lambent's worker need:

    python -P tests/support/killed_runs.py FOLDER JOB.py KILL_AFTER…

`JOB.py` has a function `fit(run)`, which returns a digest. It is called in a process of its own. The first
process is killed by SIGKILL when it has made KILL_AFTER commits and would make another, so that it has done
more than it committed; the next when it has made the second number, and the last comes to its end. Prints
what `fit` returned, and the step at which each process began, as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

SOURCES: Final = Path(__file__).parents[2] / "src"
TIMEOUT_S: Final = 280
QUIET: Final = {"TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(SOURCES)}


def survived(
    python: Path | str,
    folder: Path,
    code: str,
    kills: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What a job came to, with an interpreter of any environment. Raises AssertionError with what it said."""
    folder.mkdir(parents=True)
    job = folder / "job.py"
    job.write_text(code)
    ended = subprocess.run(
        [python, "-P", __file__, folder, job, *map(str, kills)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={**os.environ, **QUIET, **(env or {})},
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return told


def _all(folder: Path, job: Path, kills: Sequence[int]) -> None:
    began, returned = [], None
    for kill_after in [*kills, 0]:
        one = [sys.executable, "-P", __file__, "--one", str(folder), str(job), str(kill_after)]
        ended = subprocess.run(one, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        wanted = -signal.SIGKILL if kill_after else 0
        if ended.returncode != wanted:
            sys.exit(f"it ended with {ended.returncode}, not with {wanted}: {ended.stdout}{ended.stderr}")
        told = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith('{"')]
        began.append(told[0]["began"])
        returned = told[-1].get("returned")
    _tell({"began": began, "returned": returned})


def _one(folder: Path, job: Path, kill_after: int) -> None:
    from lambent.clock import SystemClock
    from lambent.runtimes.job import Run
    from lambent.wire.oneshot import JobCall

    class Mortal(Run):
        """A run whose process is killed."""

        made = 0

        def checkpoint(self, state: object, step: int | None = None, *, every_s: float | None = None) -> bool:
            if kill_after and self.made == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
            self.made += 1
            return super().checkpoint(state, step, every_s=every_s)

    run = Mortal(JobCall("run"), folder, notify=lambda _: None, clock=SystemClock())
    _tell({"began": run.step})
    spec = importlib.util.spec_from_file_location("job", job)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["job"] = module
    spec.loader.exec_module(module)
    _tell({"returned": module.fit(run)})


def _tell(what: object) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[0] == "--one":
        _one(Path(words[1]), Path(words[2]), int(words[3]))
    else:
        _all(Path(words[0]), Path(words[1]), [int(word) for word in words[2:]])
