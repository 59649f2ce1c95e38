"""The command of a deployment: how a shell runs it, in which variables, and how long it may take to leave."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lambent.runtimes.faults import Fault
from lambent.runtimes.program import Program, Reach
from lambent.wire.process import RevisionPlan

SHELL: Final = "/bin/sh"
NOT_ONE_PROGRAM: Final = re.compile(r"[|&;<>()`\n]")
# From SIGTERM until SIGKILL; the server allows its worker 10 seconds.
LEAVE_S: Final = 8.0
# Of AWS Lambda, which this is not: libraries take them for a sign that it is.
LAMBDA: Final = ("AWS_EXECUTION_ENV", "AWS_LAMBDA_", "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT", "_HANDLER")


def for_shell(command: str, path: str) -> str:
    """The command, so that the shell becomes it where it is one program, and is not a process beside it."""
    first = command.split(None, 1)[0]
    is_one = not NOT_ONE_PROGRAM.search(command) and shutil.which(first, path=path) is not None
    return f"exec {command}" if is_one else command


def started(plan: RevisionPlan, environ: Mapping[str, str]) -> Program:
    """The command, run by a shell, with all that it starts. Raises `Fault` where the kernel cannot run it."""
    command = [SHELL, "-c", for_shell(plan.command, environ["PATH"])]
    return Program(command, environ, reach=Reach.GROUP, leave_s=LEAVE_S)


def check_command(plan: RevisionPlan) -> None:
    """Raise `Fault` where there is nothing to start."""
    if not plan.command.strip():
        raise Fault("Runtime.InvalidEntrypoint", "there is no command to start")


def command_environment(plan: RevisionPlan) -> Mapping[str, str]:
    """The variables of any command: this process's without what says that it is AWS Lambda."""
    inherited = {
        key: value for key, value in os.environ.items() if key in plan.env or not key.startswith(LAMBDA)
    }
    beside = str(Path(sys.executable).parent)
    return {
        **inherited,
        "PATH": os.pathsep.join((beside, inherited.get("PATH", os.defpath))),
        "PYTHONDONTWRITEBYTECODE": "1",  # an artifact is what its digest says
        "PYTHONUNBUFFERED": "1",  # or what it prints is in its log when it has ended
    }
