"""How fast and how small Lambent is, measured beside what else one could do. `python -m benchmarks`."""
