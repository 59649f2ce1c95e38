"""A sign of life for what takes over a second: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
from types import TracebackType
from typing import Final, Protocol, Self, TextIO

LIVE_AFTER_S: Final = 0.4
PLAIN_AFTER_S: Final = 1.0


class View(Protocol):
    """Where progress is shown. `fraction` is from 0 to 1, None where nobody knows."""

    def show(self, text: str, fraction: float | None) -> None: ...

    def close(self) -> None: ...


class Progress:
    """Shows `text` on standard error while the block runs, if it runs long enough."""

    def __init__(self, text: str, stream: TextIO | None = None) -> None:
        self._stream: Final = stream or sys.stderr
        self._live: Final = self._stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._lock: Final = threading.Lock()
        self._timer: Final = threading.Timer(LIVE_AFTER_S if self._live else PLAIN_AFTER_S, self._begin)
        self._timer.daemon = True
        self._text = text
        self._fraction: float | None = None
        self._view: View | None = None
        self._over = False

    def update(self, text: str, fraction: float | None = None) -> None:
        """What is going on now, and how far it is."""
        with self._lock:
            self._text, self._fraction = text, fraction
            if self._view:
                self._view.show(text, fraction)

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._over = True
            if self._view:
                self._view.close()
        self._timer.join()

    def _begin(self) -> None:
        view = LiveView() if self._live else PlainView(self._stream)
        with self._lock:
            if not self._over:
                self._view = view
                view.show(self._text, self._fraction)


class PlainView:
    """A line when the text changes: what a log can hold."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: Final = stream
        self._shown = ""

    def show(self, text: str, fraction: float | None) -> None:
        if text != self._shown:
            self._shown = text
            share = "" if fraction is None else f" ({fraction:.0%})"
            self._stream.write(f"{text}{share} ...\n")
            self._stream.flush()

    def close(self) -> None:
        """Nothing to take back."""


class LiveView:
    """A spinner, or a bar where the fraction is known, that leaves no trace."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._bars: Final = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: Final = self._bars.add_task("", total=None)

    def show(self, text: str, fraction: float | None) -> None:
        self._bars.start()  # harmless where it has
        self._bars.update(
            self._task, description=text, total=None if fraction is None else 1.0, completed=fraction or 0.0
        )

    def close(self) -> None:
        self._bars.stop()
