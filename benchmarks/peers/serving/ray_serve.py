"""`python ray_serve.py PORT echo|hops defaults|tuned`: Ray Serve until SIGTERM.

Tuned is what https://docs.ray.io/en/master/kuberay/user-guides/serve-high-throughput.html switches on, in the
environment that `benchmarks.platforms` gives: HAProxy in front and gRPC between replicas. More calls at once
than are in flight, a fixed number of replicas and no line in the log for each request are of
https://docs.ray.io/en/latest/serve/configure-serve-deployment.html. HAProxy listens on all interfaces.
"""

import contextlib
import signal
import sys
from typing import Any

import ray
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request

HOST = "127.0.0.1"
ONGOING_MAX = 100
QUIET = {"enable_access_log": False, "log_level": "WARNING"}
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "tuned": {"num_replicas": 1, "max_ongoing_requests": ONGOING_MAX, "logging_config": QUIET},
}


class Echo:
    """One deployment that answers what it is asked."""

    async def __call__(self, request: Request) -> Any:
        return await request.json()


class Inner:
    """The second hop."""

    async def __call__(self, payload: bytes) -> bytes:
        return payload


class Outer:
    """The first hop: passes the body on and answers what comes back."""

    def __init__(self, inner: DeploymentHandle) -> None:
        self.inner = inner

    async def __call__(self, request: Request) -> bytes:
        return await self.inner.remote(await request.body())


def main() -> None:
    """Serve until SIGTERM."""
    port, what, how = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    options = OPTIONS[how]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ray.init(include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"host": HOST, "port": port})
        if what == "echo":
            app = serve.deployment(Echo, **options).bind()
        else:
            app = serve.deployment(Outer, **options).bind(serve.deployment(Inner, **options).bind())
        serve.run(app, blocking=False)
        signal.pause()
    finally:
        with contextlib.suppress(Exception):
            serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
