"""OpenAI's words: what its clients send and read."""
