"""The URLs that functions have beside their names, as AWS Lambda has them. Control writes, the gateway reads.

No disk is touched here.
"""

from __future__ import annotations

from typing import Final

import msgspec

from lambent.wire.aws.shapes import Cors


class FunctionUrl(msgspec.Struct, frozen=True, kw_only=True):
    """One URL: `/lambda-url/{url_id}/`. It calls a function under an alias, or what is active where empty.

    `auth_type` is NONE or AWS_IAM, `invoke_mode` BUFFERED or RESPONSE_STREAM.
    """

    url_id: str
    project: str
    name: str
    alias: str = ""
    auth_type: str = "AWS_IAM"
    invoke_mode: str = "BUFFERED"
    cors: Cors | None = None


class FunctionUrls:
    """Every URL by its id."""

    def __init__(self) -> None:
        self._urls: Final[dict[str, FunctionUrl]] = {}

    def get(self, url_id: str) -> FunctionUrl | None:
        """The URL of that id."""
        return self._urls.get(url_id)

    def put(self, url: FunctionUrl) -> None:
        """Let it answer from now on, as it is now."""
        self._urls[url.url_id] = url

    def forget(self, project: str, name: str, alias: str | None = None) -> None:
        """Let a function's URLs answer no more: that of one alias, or all."""
        for url in tuple(self._urls.values()):
            if (url.project, url.name) == (project, name) and alias in (None, url.alias):
                del self._urls[url.url_id]
