"""What the server says of itself: logs and metrics."""
