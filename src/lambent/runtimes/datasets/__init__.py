"""Datasets as the code of a job sees them."""
