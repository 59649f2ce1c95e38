"""How a child process gives up what only root may do, on machines where it runs as root."""

from typing import Final

# Root without capabilities is a user like others. To become another user is not possible everywhere: a user
# namespace may have none, and another may not be let into the folder of the interpreter.
GIVE_UP_RIGHTS: Final = """
import ctypes
header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(header, nothing) == 0
"""
