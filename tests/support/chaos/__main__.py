"""`python -m tests.support.chaos`: one run, told as it goes. Exits with 1 where a law was broken."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.support.chaos import quiet
from tests.support.chaos.run import run


def main() -> int:
    """Read the flags, run, tell."""
    parser = argparse.ArgumentParser(prog="make chaos", description="Break everything, check what must hold.")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 16))
    parser.add_argument("--seconds", type=float, default=60.0)
    words = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lambent-chaos-"))
    report = run(folder, seed=words.seed, seconds=words.seconds, say=_say)
    for name, count in sorted(report.counts.items()):
        _say(f"{count:8} {name}")
    again = f"make chaos SEED={words.seed} SECONDS={words.seconds:g}"
    if not report.violations:
        shutil.rmtree(folder, ignore_errors=True)
        _say(f"every law held; again: {again}")
        return 0
    _say(quiet.told(report.violations))
    _say(f"{len(report.violations)} violations; the server's log is in {folder}; again: {again}")
    return 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
