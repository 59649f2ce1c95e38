"""A store for each test."""

from tests.unit.jobs.conftest import store

__all__ = ["store"]
