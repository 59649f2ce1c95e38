"""A run against real processes in which everything fails that may fail, and the laws that hold all the same.

`python -m tests.support.chaos --seed 7 --seconds 60`, or `make chaos SEED=7 SECONDS=60`. The seed decides
which faults come at which tick and what each client sends; how the processes interleave is the machine's.
"""
