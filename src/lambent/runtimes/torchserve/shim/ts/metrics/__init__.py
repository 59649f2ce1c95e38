"""Metrics of a handler."""
