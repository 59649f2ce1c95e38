"""What was used, kept so that it cannot be lost or counted twice, and what it costs."""
