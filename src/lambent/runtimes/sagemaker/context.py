"""The `context` that a function of `inference.py` may take: the model server's, as far as code relies on it.

After multi-model-server's `mms.context`: what was asked is read from it, and what is answered can be set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lambent.core.invocation import Head

OK: Final = 200
NOTHING: Final[Mapping[str, str]] = {}


class RequestProcessor:
    """One request: its headers, and the status and headers of its answer."""

    def __init__(self, request_id: str, headers: Mapping[str, str]) -> None:
        self._request_id: Final = request_id
        self._headers: Final = dict(headers)
        self._folded: Final = {name.lower(): value for name, value in headers.items()}
        self._status = OK
        self._phrase = ""
        self._answered: Final[dict[str, str]] = {}

    def get_request_properties(self) -> dict[str, str]:
        """All headers that came."""
        return self._headers

    def get_request_property(self, key: str) -> str | None:
        """One of them, whatever the case of its name."""
        return self._folded.get(key.lower())

    def report_status(self, code: int, reason_phrase: str | None = None) -> None:
        """Answer with this status."""
        self._status, self._phrase = int(code), reason_phrase or ""

    def get_response_status_code(self) -> int:
        """What was reported, 200 otherwise."""
        return self._status

    def get_response_status_phrase(self) -> str:
        """The reason that goes with it."""
        return self._phrase

    def add_response_property(self, key: str, value: str) -> None:
        """Answer with this header."""
        self._answered[key.lower()] = str(value)

    def get_response_headers(self) -> dict[str, str]:
        """Those that were added."""
        return self._answered

    def get_response_header(self, key: str) -> str | None:
        """One of them."""
        return self._answered.get(key.lower())

    def head(self) -> Head | None:
        """What was said beside the body; `None` where nothing was."""
        told = tuple((name, value) for name, value in self._answered.items() if name != "content-type")
        return Head(self._status, told) if told or self._status != OK else None


class Context:
    """One request's surroundings. A request is alone in its batch: each `idx` means the same."""

    def __init__(
        self, model_name: str, model_dir: str, request_id: str = "", headers: Mapping[str, str] = NOTHING
    ) -> None:
        self.model_name: Final = model_name
        self.manifest: Final[dict[str, object]] = {"model": {"modelName": model_name}}
        self.system_properties: Final[dict[str, object]] = {
            "model_dir": model_dir,
            "gpu_id": None,
            "batch_size": 1,
            "server_name": "Lambent",
            "server_version": "1",
        }
        self.request_ids: Final = {0: request_id}
        self.request_processor: Final = [RequestProcessor(request_id, headers)]
        self.metrics: Final = None

    @property
    def asked(self) -> RequestProcessor:
        """The one request."""
        return self.request_processor[0]

    def get_request_id(self, idx: int = 0) -> str:
        """The invocation's id."""
        return self.request_ids[0]

    def get_request_header(self, idx: int, key: str) -> str | None:
        """A header that came, whatever the case of its name."""
        return self.asked.get_request_property(key)

    def get_all_request_header(self, idx: int) -> dict[str, str]:
        """All headers that came."""
        return self.asked.get_request_properties()

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Answer with this type, unless the function returns one."""
        self.set_response_header(idx, "content-type", value)

    def get_response_content_type(self, idx: int) -> str | None:
        """What was set."""
        return self.asked.get_response_header("content-type")

    def set_response_status(self, code: int = OK, phrase: str = "", idx: int = 0) -> None:
        """Answer with this status."""
        self.asked.report_status(code, phrase)

    def set_all_response_status(self, code: int = OK, phrase: str = "") -> None:
        """The same."""
        self.asked.report_status(code, phrase)

    def get_response_status(self, idx: int = 0) -> tuple[int, str]:
        """Status and reason as they are now."""
        return self.asked.get_response_status_code(), self.asked.get_response_status_phrase()

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Answer with this header."""
        self.asked.add_response_property(key, value)

    def get_response_headers(self, idx: int) -> dict[str, str]:
        """Those that were set."""
        return self.asked.get_response_headers()
