"""The port that a program is told to listen on: taken for it, and seen to be served by it and nobody else."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from lambent.runtimes.faults import Fault

# Below the ports that the kernel gives to outgoing connections (ip_local_port_range begins at 32768): no
# connection of anybody's takes one of these between our look and the program's.
PORTS: Final = range(20_000, 32_000)
TRIES_MAX: Final = 200
# Programs listen on either, told HOST or `localhost`; one that listens on all addresses is at the first.
HOSTS: Final = ("127.0.0.1", "::1")
TABLES: Final = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
LISTENING: Final = "0A"
STATE, INODE = 3, 9  # of the words of a line of those tables


class Port:
    """A number that nobody listens on, and that no other worker of this machine takes until `close`."""

    def __init__(self) -> None:
        """Raises `Fault` where all that were tried are taken."""
        self.number, self._claim = _free()

    def close(self) -> None:
        """Others may take it."""
        self._claim.close()


def _free() -> tuple[int, socket.socket]:
    for number in random.sample(PORTS, TRIES_MAX):
        claim = _claimed(number)
        if claim is not None:
            return number, claim
    raise Fault("Lambent.NoPort", f"none of {TRIES_MAX} ports from {PORTS.start} on is free")


def _claimed(number: int) -> socket.socket | None:
    # A name that the kernel keeps apart for each network, as it does ports, and gives back with its owner.
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0lambent/port/{number}")
        for host in HOSTS:
            with socket.socket(_family(host)) as probe:
                probe.bind((host, number))
    except OSError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):  # there may be no IPv6
            claim.close()
            return None
    return claim


def listener(port: int) -> str:
    """The address at which somebody listens on `port`; empty while nobody does. It does not wait."""
    for host in HOSTS:
        with contextlib.suppress(OSError), socket.socket(_family(host)) as probe:  # there may be no IPv6
            probe.setblocking(False)
            # On this machine it is there, or refused, at once.
            if probe.connect_ex((host, port)) in (0, errno.EINPROGRESS):
                probe.getpeername()  # raises where it is not through
                return host
    return ""


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def is_theirs(port: int, pids: Iterable[int]) -> bool:
    """Whether one of these processes listens on `port`. Reads /proc, as far as this user may.

    True where the kernel does not say who does.
    """
    sockets = set(_listeners(port))
    if not sockets:
        return not any(table.exists() for table in TABLES)
    return any(target in sockets for pid in pids for target in _opened(pid))


def _listeners(port: int) -> Iterator[str]:
    wanted = f":{port:04X}"
    for table in TABLES:
        try:
            with table.open() as lines:
                next(lines, None)
                for line in lines:
                    words = line.split()
                    if words[STATE] != LISTENING:  # those that listen come first
                        break
                    if words[1].endswith(wanted):
                        yield f"socket:[{words[INODE]}]"
        except OSError:
            continue


def _opened(pid: int) -> Iterator[str]:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            names = [entry.name for entry in entries]
    except OSError:  # it has ended
        return
    for name in names:
        try:
            yield str(Path(f"/proc/{pid}/fd/{name}").readlink())
        except OSError:
            continue
