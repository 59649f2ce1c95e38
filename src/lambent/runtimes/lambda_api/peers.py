"""Whose process is at the other end of a connection on this machine: loopback is open to all of its users.

The kernel is asked for the peer's own socket (sock_diag(7), `inet_diag_req_v2` of linux/inet_diag.h), which
takes some 10 µs however many sockets there are, unlike a look into /proc/net/tcp.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import Final

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
NLM_F_REQUEST: Final = 1
NLMSG_HEAD: Final = struct.Struct("=IHHII")
REQUEST: Final = struct.Struct("=BBBBI")
NO_COOKIE: Final = b"\xff" * 8
# In `inet_diag_msg` the owner lies behind the addresses and four words of timers and queues.
UID_AT: Final = 64
ANSWER_BYTES_MAX: Final = 4096

Address = tuple[str, int]


def is_stranger(here: Address, there: Address) -> bool:
    """Whether another user of this machine has made the connection from `there` to `here`.

    False where the kernel does not say it: some sandboxes have no sock_diag, and have no other users. One
    that has closed its end already belongs to nobody, which is a stranger too.
    """
    owner = owner_of(there, here)
    return owner is not None and owner != os.getuid()


def owner_of(own: Address, peer: Address) -> int | None:
    """The user whose socket is bound to `own` and connected to `peer`; None where that cannot be told."""
    wanted = REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + b"".join(
        (
            struct.pack("!HH", own[1], peer[1]),
            socket.inet_aton(own[0]).ljust(16, b"\0"),
            socket.inet_aton(peer[0]).ljust(16, b"\0"),
            bytes(4),
            NO_COOKIE,
        )
    )
    head = NLMSG_HEAD.pack(NLMSG_HEAD.size + len(wanted), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as asked:
            asked.settimeout(0.0)  # it has answered when `send` returns
            asked.send(head + wanted)
            answer = asked.recv(ANSWER_BYTES_MAX)
    except OSError:
        return None
    _, kind, *_ = NLMSG_HEAD.unpack_from(answer)
    at = NLMSG_HEAD.size + UID_AT
    if kind != SOCK_DIAG_BY_FAMILY or len(answer) < at + 4:
        return None
    return int.from_bytes(answer[at : at + 4], sys.byteorder)
