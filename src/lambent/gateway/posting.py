"""The way to an OTLP receiver, over HTTP. Imported only where there is one: what it needs is not small."""

from __future__ import annotations

import gzip
from typing import Final

import urllib3

from lambent.core.telemetry import Telemetry
from lambent.gateway.exporting import Said
from lambent.wire import otlp

ANSWER_BYTES_MAX: Final = 65_536


class HttpPost:
    """Posts requests to the receiver. Keeps its connection; blocks."""

    def __init__(self, telemetry: Telemetry, *, user_agent: str) -> None:
        self._telemetry: Final = telemetry
        authorities = telemetry.certificate or None
        self._pool: Final = urllib3.PoolManager(maxsize=1, retries=False, ca_certs=authorities)
        self._headers: Final = {
            "content-type": otlp.CONTENT_TYPE,
            "user-agent": user_agent,
            **({"content-encoding": "gzip"} if telemetry.is_compressed else {}),
            **telemetry.headers,
        }

    def __call__(self, request: bytes) -> Said:
        """What the receiver says, or why it says nothing."""
        body = gzip.compress(request, 6) if self._telemetry.is_compressed else request
        try:
            answer = self._pool.request(
                "POST",
                self._telemetry.url,
                body=body,
                headers=self._headers,
                timeout=self._telemetry.timeout_s,
                redirect=False,
                preload_content=False,
            )
            said = answer.read(ANSWER_BYTES_MAX)
            if len(said) < ANSWER_BYTES_MAX:
                answer.release_conn()
            else:
                answer.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return Said(0, str(error).encode())
        return Said(answer.status, said, _seconds(answer.headers.get("retry-after", "")))


def _seconds(retry_after: str) -> float | None:
    """In seconds; a date is as good as nothing here."""
    text = retry_after.strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
