"""An answer that comes piece by piece, and ends early where nobody reads it any more.

Deploy it with `lambent deploy examples/streaming/countdown.py:handler --name countdown`, then

    curl -N -H "Authorization: Bearer $KEY" -d '{"from": 5}' http://127.0.0.1:8700/invoke/countdown
"""

import asyncio


async def handler(event, context):
    """Count down, once a second."""
    try:
        for number in range(event.get("from", 3), 0, -1):
            yield {"number": number}
            await asyncio.sleep(1)
        yield {"done": True}
    finally:
        print("the reader has all of it, or has left")
