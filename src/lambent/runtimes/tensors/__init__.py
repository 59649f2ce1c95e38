"""Sets of tensors as the values that user code takes, and what it returns as such a set."""
