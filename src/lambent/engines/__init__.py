"""Where processes come from: this machine, a cluster, or a test's memory."""
