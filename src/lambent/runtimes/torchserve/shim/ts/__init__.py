"""What handlers import of TorchServe's package, where that is not installed."""
