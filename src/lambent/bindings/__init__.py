"""Backing services that functions use: kept here by default."""
