"""Bytes and values of every protocol, without a socket."""
