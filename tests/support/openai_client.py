"""OpenAI's own client of a server under test, and what it asks."""

from __future__ import annotations

from typing import Any

import openai

from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer


def client_of(server: RunningServer) -> openai.OpenAI:
    """Return a client that is refused at once, and tries nothing again."""
    key = server.about["api_key"]
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, timeout=PATIENT_S, max_retries=0)


def says(text: str) -> Any:
    """Return a conversation to which the parrot of `talkers` answers `text`."""
    return [{"role": "system", "content": "repeat"}, {"role": "user", "content": text}]
