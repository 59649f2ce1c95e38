"""Decisions and values: no IO, no clock, no framework."""
