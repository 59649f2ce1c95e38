"""Programs that serve the same echo with other platforms. Each runs in that platform's own environment."""
