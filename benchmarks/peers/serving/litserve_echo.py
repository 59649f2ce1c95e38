"""`python litserve_echo.py PORT defaults|tuned`: LitServe until SIGTERM.

Tuned after https://lightning.ai/docs/litserve/api-reference/litserver and `litserve.LitServer`'s own words:
the queues between its processes by ZeroMQ (`fast_queue`), an asynchronous API, one worker, one HTTP server,
and no line in the log for each request.
"""

import sys
from typing import Any

import litserve
from fastapi import Request

TUNED = "tuned"


class Echo(litserve.LitAPI):
    """Answers what it is asked."""

    def setup(self, device: str) -> None:
        """There is nothing to load."""

    def predict(self, x: Any) -> Any:
        """Answer what was asked."""
        return x


class AsyncEcho(litserve.LitAPI):
    """The same without waiting for one call before the next is taken."""

    def setup(self, device: str) -> None:
        """There is nothing to load."""

    async def decode_request(self, request: Request) -> Any:
        """The body as it is."""
        return request

    async def predict(self, x: Any) -> Any:
        """Answer what was asked."""
        return x

    async def encode_response(self, output: Any):  # without a type: one is validated with
        """The answer as it is."""
        return output


def main() -> None:
    """Serve until SIGTERM."""
    port, how = int(sys.argv[1]), sys.argv[2]
    if how == TUNED:
        server = litserve.LitServer(
            AsyncEcho(enable_async=True), accelerator="cpu", workers_per_device=1, fast_queue=True
        )
        server.run(
            host="127.0.0.1", port=port, num_api_servers=1, log_level="warning", generate_client_file=False
        )
    else:
        server = litserve.LitServer(Echo(), accelerator="cpu")
        server.run(host="127.0.0.1", port=port, generate_client_file=False)


if __name__ == "__main__":
    main()
