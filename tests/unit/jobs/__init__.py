"""Tests of runs and of the durable queue."""
