"""OpenAI's API: models that chat, complete, embed and so on, for its clients."""
