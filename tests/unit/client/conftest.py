"""A server that answers as told, and a client of it."""

from collections.abc import Iterator

import pytest

from lambent.client.client import Client
from tests.support.fake_control import API_KEY, FakeControl


@pytest.fixture
def control() -> Iterator[FakeControl]:
    with FakeControl() as control:
        yield control


@pytest.fixture
def client(control: FakeControl) -> Iterator[Client]:
    with Client(control.url, API_KEY) as client:
        yield client
