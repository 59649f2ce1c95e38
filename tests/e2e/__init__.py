"""Tests that go through the front door of a real server."""
