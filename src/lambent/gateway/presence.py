"""Whether a client is still there, told to the one who needs to know."""

from __future__ import annotations

from collections.abc import Callable


class ClientLeft(Exception):
    """The client went away while its invocation waited; there is nobody to answer."""


def no_connection() -> None:
    """There is none to drop."""


class Presence:
    """One client's connection. At most one listens at a time; who comes too late hears at once.

    `drop` ends the connection once all that was sent has gone out. Without it the client is of this server.
    """

    __slots__ = ("_tell", "drop", "left")

    def __init__(self, drop: Callable[[], None] = no_connection) -> None:
        self.left = False
        self.drop = drop
        self._tell: Callable[[], None] | None = None

    def when_left(self, tell: Callable[[], None]) -> None:
        """Call `tell` once the client has left, in place of whoever listened before."""
        if self.left:
            tell()
        else:
            self._tell = tell

    def forget(self) -> None:
        """Call nobody."""
        self._tell = None

    def leave(self) -> None:
        """It has left."""
        self.left = True
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()
