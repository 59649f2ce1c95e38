"""The control API over a real store and the engine without processes."""
