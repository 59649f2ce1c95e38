"""Deployments of torch networks of a given size, and their memory with a given number of workers."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import processes
from benchmarks.figures import Sample, Unit
from benchmarks.server import Lambent

APP: Final = Path(__file__).parent / "peers" / "torch_network.py"
TIMEOUT_S: Final = 120
CALLS_A_WORKER: Final = 2
READINGS: Final = 3
MIB: Final = 2**20


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A network by what `peers/torch_network.py` says of it. Names of files are names of deployments."""

    name: str
    layers: int
    width: int
    tuned: int = 0
    tuned_layers: int = 0

    def write(self, folder: Path) -> Path:
        """The App with the network's own numbers."""
        text = APP.read_text()
        for constant, before, now in (
            ("LAYERS", 0, self.layers),
            ("WIDTH", 784, self.width),
            ("TUNED", 0, self.tuned),
            ("TUNED_LAYERS", 0, self.tuned_layers),
        ):
            text = text.replace(f"\n{constant} = {before}\n", f"\n{constant} = {now}\n")
        app = folder / f"{self.name}.py"
        app.write_text(text)
        return app


def deploy(server: Lambent, network: Network, app: Path, *, keep_alive_s: float) -> None:
    """Deploy it. The first call of a network that is new trains it, if one may call it that."""
    server.deploy(app, timeout_s=TIMEOUT_S, keep_alive_s=keep_alive_s)
    server.invoke(network.name, b"[]")


def staffed(server: Lambent, network: Network, app: Path, workers: int) -> Sample:
    """MiB of the server and all below it with so many workers, kept by `workers_min`, that have worked."""
    server.deploy(app, timeout_s=TIMEOUT_S, workers_min=workers, workers_max=workers)
    server.staff(network.name, workers)
    asking = [
        threading.Thread(target=server.invoke, args=(network.name, b"[]"))
        for _ in range(CALLS_A_WORKER * workers)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    server.staff(network.name, workers)
    return platform(server)


def platform(server: Lambent) -> Sample:
    """MiB of the server and all below it."""
    return Sample(
        tuple(processes.tree_pss_bytes(server.pid) / MIB for _ in range(READINGS)),
        Unit.MIB,
    )
