"""What is on disk: metadata in SQL, artifacts by content, logs by deployment."""
