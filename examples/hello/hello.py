"""The smallest deployment: a function of an event.

Deploy it with `lambent deploy examples/hello/hello.py:handler --name hello`, then call it with
`lambent invoke hello -d '{"name": "Ada"}'`.
"""


def handler(event, context):
    """Greet whoever the event names."""
    return {"message": f"Hello, {event.get('name', 'world')}!", "request_id": context.aws_request_id}
