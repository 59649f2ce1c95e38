"""What runs in templates and workers: the untrusted side, which imports nothing of the server."""
