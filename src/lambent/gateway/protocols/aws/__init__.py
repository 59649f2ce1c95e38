"""AWS's doors: what its SDKs call, answered so that they cannot tell the difference."""
