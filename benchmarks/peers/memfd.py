"""A body to a forked process, through a stream or in a memfd beside it: `python -m benchmarks.peers.memfd`.

The other process makes an array of it and reads one byte of each page. Through a stream the kernel copies
twice into memory that is used again; a memfd is copied into once, by pages that the kernel has to find and
clear first. One line for each size: the medians in microseconds, measured in turn.
"""

from __future__ import annotations

import mmap
import os
import socket
import statistics
import struct
import time
from typing import Final, NoReturn

import numpy as np

HEAD: Final = struct.Struct("<BQ")
STREAM, MEMFD = 0, 1
PAGE_BYTES: Final = 4096
KIB: Final = (64, 256, 1024, 4096, 16384, 32768, 65536)
ROUNDS_MIN: Final = 12
ROUNDS_KIB: Final = 65536  # of all bodies of one size together


def serve(stream: socket.socket, beside: socket.socket) -> NoReturn:
    """Take bodies until the stream ends."""
    while len(head := stream.recv(HEAD.size, socket.MSG_WAITALL)) == HEAD.size:
        way, size = HEAD.unpack(head)
        if way == STREAM:
            body = bytearray(size)
            view, got = memoryview(body), 0
            while got < size:
                got += stream.recv_into(view[got:], 0, socket.MSG_WAITALL)
            np.frombuffer(body, "u1")[::PAGE_BYTES].sum()
        else:
            _, (fd,), _, _ = socket.recv_fds(beside, 1, 1)
            with mmap.mmap(fd, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE) as mapped:
                os.close(fd)
                array = np.frombuffer(mapped, "u1")
                array[::PAGE_BYTES].sum()
                del array  # else the mapping could not be closed
        stream.sendall(b"k")
    os._exit(0)


def once(way: int, body: bytes, stream: socket.socket, beside: socket.socket) -> float:
    """Seconds until the other process has read it."""
    started_s = time.perf_counter()
    stream.sendall(HEAD.pack(way, len(body)))
    if way == STREAM:
        stream.sendall(body)
    else:
        fd = os.memfd_create("body")
        left = memoryview(body)
        while left:
            left = left[os.write(fd, left) :]
        socket.send_fds(beside, [b"x"], [fd])
        os.close(fd)
    stream.recv(1)
    return time.perf_counter() - started_s


def main() -> None:
    """Print the table."""
    stream, theirs = socket.socketpair()
    beside, theirs_beside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        stream.close()
        serve(theirs, theirs_beside)
    theirs.close()
    for kib in KIB:
        body = bytes(kib << 10)
        taken: dict[int, list[float]] = {STREAM: [], MEMFD: []}
        for _ in range(max(ROUNDS_MIN, ROUNDS_KIB // kib)):
            for way, seconds in taken.items():
                seconds.append(once(way, body, stream, beside))
        us = {way: statistics.median(seconds) * 1e6 for way, seconds in taken.items()}
        ratio = us[MEMFD] / us[STREAM]
        print(f"{kib:6d} KiB: stream {us[STREAM]:8.0f} µs, memfd {us[MEMFD]:8.0f} µs, {ratio:.2f}×")


if __name__ == "__main__":
    main()
