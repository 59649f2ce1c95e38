"""Builds the server and runs it: the only package that knows every concrete class."""
