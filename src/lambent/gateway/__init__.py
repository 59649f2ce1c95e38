"""The doors: HTTP in, invocations on, answers out."""
