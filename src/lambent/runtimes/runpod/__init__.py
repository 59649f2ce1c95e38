"""Programs that ask for jobs as RunPod's workers do, and the endpoints that they ask."""
