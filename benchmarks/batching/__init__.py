"""Adaptive batching beside fixed batches, in virtual time."""
