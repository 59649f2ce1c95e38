"""What those who take objects of a framework apart have in common."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, Final

# As `object.__reduce__`, or NotImplemented where the object's own way is the best.
Reduce = Callable[[Any], Any]


class Lent:
    """Buffers that are only read when a state is read: who makes an object of them copies them."""

    def __init__(self) -> None:
        self._buffers: Final[dict[int, pickle.PickleBuffer]] = {}

    def lend(self, memory: memoryview) -> pickle.PickleBuffer:
        """A buffer of this memory."""
        buffer = pickle.PickleBuffer(memory)
        self._buffers[id(buffer)] = buffer
        return buffer

    def has(self, buffer: pickle.PickleBuffer) -> bool:
        """Whether it was lent here."""
        return id(buffer) in self._buffers
