"""A program that speaks HTTP on a port of this machine, as its worker reaches it."""
