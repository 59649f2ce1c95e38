"""Echo for `bentoml serve bentoml_echo:Echo`, or `:TunedEcho`.

Tuned after https://docs.bentoml.com/en/latest/build-with-bentoml/parallelize-requests.html and
https://docs.bentoml.com/en/latest/reference/bentoml/configurations.html: one worker, an asynchronous API,
which runs in the event loop and not in a thread, and no line in the log for each request.
"""

from typing import Any

import bentoml


@bentoml.service
class Echo:
    """As in the first steps."""

    @bentoml.api(route="/echo")
    def echo(self, body: dict[str, Any], /) -> dict[str, Any]:
        """Answer what was asked."""
        return body


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class TunedEcho:
    """The same in the event loop."""

    @bentoml.api(route="/echo")
    async def echo(self, body: dict[str, Any], /) -> dict[str, Any]:
        """Answer what was asked."""
        return body
