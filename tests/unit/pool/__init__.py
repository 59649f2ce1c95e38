"""Tests of the request path below the doors, in virtual time."""
