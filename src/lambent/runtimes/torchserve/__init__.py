"""TorchServe's model archives: by their handlers' `initialize` and `handle`."""
