"""The `context` that a handler of TorchServe's gets: one for its whole life, told of each batch anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from lambent.runtimes.sagemaker.context import OK, RequestProcessor
from lambent.runtimes.torchserve.metrics import Metrics
from lambent.runtimes.torchserve.words import VERSION

SEQUENCE: Final = "ts_request_sequence_id"


class Arrived(msgspec.Struct, frozen=True):
    """One request of a batch: its id and its headers."""

    id: str
    headers: Mapping[str, str]


class Context:
    """What a handler may ask and say. `idx` is a request's place in its batch.

    While it loads there are no requests: `request_ids` is `None`.
    """

    def __init__(
        self,
        model_name: str,
        model_dir: str,
        manifest: Mapping[str, Any],
        *,
        batch_size: int = 1,
        model_yaml_config: Mapping[str, Any] | None = None,
    ) -> None:
        self.model_name: Final = model_name
        self.manifest: Final = manifest
        self.model_yaml_config: Final = dict(model_yaml_config or {})
        self.system_properties: Final[dict[str, object]] = {
            "model_dir": model_dir,
            "gpu_id": None,
            "batch_size": batch_size,
            "server_name": "Lambent",
            "server_version": VERSION,
            "limit_max_image_pixels": True,
        }
        self.metrics: Final = Metrics(model_name)
        self.request_ids: dict[int, str] | None = None
        self.request_processor: list[RequestProcessor] = []

    def turn(self, batch: Sequence[Arrived]) -> None:
        """These are the requests now."""
        self.request_ids = {place: one.id for place, one in enumerate(batch)}
        self.request_processor = [RequestProcessor(one.id, one.headers) for one in batch]
        self.metrics.request_ids = self.request_ids

    def get_request_id(self, idx: int = 0) -> str | None:
        """The invocation's id."""
        return self.request_ids.get(idx) if self.request_ids is not None else None

    def get_request_header(self, idx: int, key: str) -> str | None:
        """A header that came, whatever the case of its name."""
        return self.request_processor[idx].get_request_property(key)

    def get_all_request_header(self, idx: int) -> dict[str, str]:
        """All headers that came, their names in lower case."""
        return self.request_processor[idx].get_request_properties()

    def get_sequence_id(self, idx: int) -> str | None:
        """What the caller says that its sequence is."""
        return self.get_request_header(idx, SEQUENCE)

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Answer with this type."""
        self.set_response_header(idx, "content-type", value)

    def get_response_content_type(self, idx: int) -> str | None:
        """What was set."""
        return self.request_processor[idx].get_response_header("content-type")

    def set_response_status(self, code: int = OK, phrase: str = "", idx: int = 0) -> None:
        """Answer with this status."""
        if self.request_processor:
            self.request_processor[idx].report_status(code, phrase)

    def set_all_response_status(self, code: int = OK, phrase: str = "") -> None:
        """Answer all of the batch with it."""
        for one in self.request_processor:
            one.report_status(code, phrase)

    def get_response_status(self, idx: int) -> tuple[int, str]:
        """Status and reason as they are now."""
        asked = self.request_processor[idx]
        return asked.get_response_status_code(), asked.get_response_status_phrase()

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Answer with this header."""
        self.request_processor[idx].add_response_property(key, value)

    def get_response_headers(self, idx: int) -> dict[str, str]:
        """Those that were set."""
        return self.request_processor[idx].get_response_headers()
