"""Sources of invocations that are not HTTP."""
