"""A gRPC server in this event loop, for the port that found that one is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from lambent.core.errors import PlatformFault
from lambent.gateway.protocols.open_inference.port import RpcServer

CALLS_MAX: Final = 2000  # at once
PING_MS_MIN: Final = 5000  # how often a client may ask whether anybody is there


async def start(
    addresses: Sequence[str], handler: Any, *, body_bytes_max: int, tls: tuple[Path, Path] | None
) -> RpcServer:
    """Listen. Raises `PlatformFault`."""
    options = [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", body_bytes_max),
        ("grpc.max_send_message_length", -1),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_MS_MIN),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=CALLS_MAX)
    server.add_generic_rpc_handlers((handler,))
    try:
        for address in addresses:
            if tls is None:
                server.add_insecure_port(address)
            else:
                chain, key = (path.read_bytes() for path in tls)
                server.add_secure_port(address, grpc.ssl_server_credentials([(key, chain)]))
        await server.start()
    except (RuntimeError, OSError) as error:
        raise PlatformFault(f"gRPC cannot listen on {', '.join(addresses)}: {error}") from error
    found: RpcServer = server
    return found
