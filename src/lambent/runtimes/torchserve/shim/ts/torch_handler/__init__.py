"""Handlers to make one's own from."""
