"""A gRPC server in this event loop, for the port that found that one is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from lambent.core.errors import PlatformFault
from lambent.gateway.protocols.open_inference.port import Endpoint, RpcServer

CALLS_MAX: Final = 2000  # at once
PING_MS_MIN: Final = 5000  # how often a client may ask whether anybody is there


async def start(
    endpoint: Endpoint, handler: Any, *, body_bytes_max: int, tls: tuple[Path, Path] | None
) -> RpcServer:
    """Listen. Raises `PlatformFault`."""
    options: list[tuple[str, int]] = [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", body_bytes_max),
        ("grpc.max_send_message_length", -1),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_MS_MIN),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
    if endpoint.age_ms_max:
        options.append(("grpc.max_connection_age_ms", endpoint.age_ms_max))
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=CALLS_MAX)
    server.add_generic_rpc_handlers((handler,))
    try:
        if tls is None:
            server.add_insecure_port(endpoint.address)
        else:
            chain, key = (path.read_bytes() for path in tls)
            credentials = grpc.ssl_server_credentials([(key, chain)])
            server.add_secure_port(endpoint.address, credentials)
        await server.start()
    except (RuntimeError, OSError) as error:
        raise PlatformFault(f"gRPC cannot listen on {endpoint.address}: {error}") from error
    found: RpcServer = server
    return found
