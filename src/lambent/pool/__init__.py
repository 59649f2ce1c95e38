"""Leases, the lifecycle of workers, and how many there should be."""
