"""Anthropic's words: what its clients send and read."""
