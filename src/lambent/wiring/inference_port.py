"""The port for gRPC: where it is, and what answers there once somebody comes."""

from __future__ import annotations

import asyncio
import importlib
import logging
import socket
from collections.abc import Sequence
from typing import Final

from lambent import __version__
from lambent.core.errors import InvalidSpec, PlatformFault
from lambent.gateway.protocols import Behind
from lambent.gateway.protocols.open_inference.port import GrpcPort, RpcServer, bind, is_installed
from lambent.settings import GRPC_NEXT, GRPC_OFF, Settings
from lambent.wiring.ecosystems import inference_models
from lambent.wiring.parts import Parts

PACKAGE: Final = "lambent.gateway.protocols.open_inference"
PORT_MAX: Final = 65_535

log = logging.getLogger(__name__)


def listening_for_grpc(settings: Settings, http: socket.socket) -> socket.socket | None:
    """The socket, where there is to be one: unless told it is the next port, if that is free.

    Raises `InvalidSpec`, and `PlatformFault` where a port that was asked for cannot be had.
    """
    said = settings.grpc_port
    if said == GRPC_OFF:
        return None
    if said != GRPC_NEXT and not (said.isdigit() and int(said) <= PORT_MAX):
        raise InvalidSpec(f"grpc_port={said[:20]!r} is neither a port nor {GRPC_NEXT} or {GRPC_OFF}")
    if not is_installed():
        if said == GRPC_NEXT:
            return None
        raise PlatformFault("gRPC is not installed: pip install 'lambent[grpc]'")
    if said != GRPC_NEXT:
        return bind(settings.host, int(said))
    try:
        return bind(settings.host, http.getsockname()[1] + 1 if settings.port else 0)
    except PlatformFault as error:
        log.warning("no_grpc", extra={"reason": f"{error.message}; name another port with --grpc-port"})
        return None


def grpc_port(listening: socket.socket, parts: Parts, behind: Behind, tasks: asyncio.TaskGroup) -> GrpcPort:
    """The port, which imports gRPC when it is needed."""
    settings = parts.settings

    async def start(addresses: Sequence[str]) -> RpcServer:
        rpc, server = await asyncio.to_thread(
            lambda: [importlib.import_module(f"{PACKAGE}.{name}") for name in ("rpc", "rpc_server")]
        )
        answers = rpc.Rpc(
            behind,
            models=inference_models(parts),
            tasks=tasks,
            version=__version__,
            accepts=lambda: parts.dispatcher.accepting,
        )
        found: RpcServer = await server.start(
            addresses, answers.handler(), body_bytes_max=settings.body_bytes_max, tls=settings.tls
        )
        return found

    return GrpcPort(listening, start)
