"""The first process of an environment: `python -m lambent.worker.main --control-fd N --imports a,b,c`.

It imports the packages, says that it is ready and waits to be forked. Each fork becomes a revision template
or a worker; both return to `_live`, so that no fork ever runs on top of its parent's stack.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final, NoReturn

import msgspec

from lambent.clock import Clock, SystemClock
from lambent.runtimes import threads
from lambent.runtimes.base import MODULES, Loading
from lambent.runtimes.faults import as_text, function_error
from lambent.runtimes.outputs import flush
from lambent.wire.process import ChildRole, Failed, Runtime
from lambent.worker import sandbox
from lambent.worker.channel import Channel
from lambent.worker.lives import become_template, become_worker, ready
from lambent.worker.printing import by_lines
from lambent.worker.renewal import before_forks, watch_seeds
from lambent.worker.template import Loaded, Template

EXIT_USAGE: Final = 64
EXIT_CRASHED: Final = 70
EXIT_NOT_IMPORTED: Final = 1
# What nearly every worker runs: imported once here and shared by all.
PRELOADED: Final = (Runtime.HANDLER, Runtime.MODEL)


class Options(msgspec.Struct, frozen=True):
    """What the command line says."""

    control_fd: int
    imports: tuple[str, ...]


def main() -> NoReturn:
    """Live, and never return: an interpreter's ordinary end cleans up for one process, not for forks."""
    try:
        _live(_options(sys.argv[1:]))
    except BaseException:  # noqa: BLE001 - the top of every process of the environment
        traceback.print_exc()
        flush()
        os._exit(EXIT_CRASHED)


def _live(options: Options) -> NoReturn:
    clock = SystemClock()
    template = _environment(options, clock)
    while True:
        birth = template.serve()
        if birth.role is not ChildRole.TEMPLATE:
            code = become_worker(birth, clock)
            flush()
            os._exit(code)
        template = become_template(birth, clock)


def _environment(options: Options, clock: Clock) -> Template:
    """Become the environment's template. Ends the process where an import fails."""
    loading = Loading(clock)
    loading.parts_ms["exec"] = sandbox.lived_ms()
    sandbox.die_with(os.getppid())
    control_fd = sandbox.own(options.control_fd)
    sandbox.start_template()
    by_lines()
    watch_seeds()
    channel = Channel(control_fd)
    try:
        with loading.part("import"):
            _import([MODULES[runtime] for runtime in PRELOADED])
            _import(options.imports)
            threads.use(1)
            _warm_up()
        renewal = before_forks()
    except BaseException as error:  # noqa: BLE001 - around code of packages, which may raise anything
        fault = function_error(error)
        sys.stderr.write(as_text(fault))
        flush()
        channel.send(Failed(fault))
        os._exit(EXIT_NOT_IMPORTED)
    ready(channel, loading.parts_ms, own_fds={control_fd})
    return Template(channel, clock, Loaded(renewal))


def _import(names: Sequence[str]) -> None:
    """Import what is there. What is missing is left to the user's own import, which says so in context."""
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise


def _warm_up() -> None:
    """Adapters speak numpy: where no package has imported it, there is no framework either."""
    if "numpy" in sys.modules:
        importlib.import_module("lambent.runtimes.adapters.files").warm_up()


def _options(arguments: Sequence[str]) -> Options:
    """The two options; argparse would cost every environment 7 ms."""
    values = dict(zip(arguments[::2], arguments[1::2], strict=False))
    control_fd = values.pop("--control-fd", "")
    imports = values.pop("--imports", "")
    if values or len(arguments) % 2 or not control_fd.isdigit():
        sys.stderr.write("usage: python -m lambent.worker.main --control-fd N [--imports a,b,c]\n")
        os._exit(EXIT_USAGE)
    return Options(int(control_fd), tuple(name for name in imports.split(",") if name))


if __name__ == "__main__":
    main()
