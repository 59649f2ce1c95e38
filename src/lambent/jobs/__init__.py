"""Durable work: runs of jobs, training on demand, and the queue of asynchronous invocations."""
