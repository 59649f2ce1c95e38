"""Transforms of data: learnt from a dataset in a job, and applied to what the model is asked."""
