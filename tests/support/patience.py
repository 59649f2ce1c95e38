"""How long a test waits for what must come: so long that only a fault makes it late.

Where the time is no part of what a test says, it waits for an event and gives it this; a machine that is ten
times slower, or stands still for a while, is none of its concern.
"""

from typing import Final

PATIENT_S: Final = 120.0
