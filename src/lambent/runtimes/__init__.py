"""What makes an artifact callable, one file a runtime: it runs in workers and knows nothing of the server."""
