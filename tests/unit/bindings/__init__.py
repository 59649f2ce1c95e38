"""What functions use."""
