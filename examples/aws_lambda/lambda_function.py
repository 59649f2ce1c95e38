"""A function as it is written for AWS Lambda behind an HTTP API: nothing in it knows of Lambent.

Deploy it with
`lambent deploy lambda_function.py:lambda_handler --name greeter --set env.GREETING=Bonjour`
or without the last setting.
"""

import json
import logging
import os

logger = logging.getLogger()
logger.setLevel(logging.INFO)

# Read once, when the code is loaded, as Lambda's own advice has it.
GREETING = os.environ.get("GREETING", "Hello")


def lambda_handler(event, context):
    """Greet by the query string's `name`, or complain in HTTP's words where it is too long."""
    parameters = event.get("queryStringParameters") or {}
    name = parameters.get("name", "stranger")
    logger.info("greeting %s with %d ms left", name, context.get_remaining_time_in_millis())
    if len(name) > 100:
        return respond(400, {"error": f"a name of {len(name)} characters is too long: 100 at most"})
    return respond(200, {"message": f"{GREETING}, {name}!", "requestId": context.aws_request_id})


def respond(status, body):
    """An answer in API Gateway's shape."""
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": json.dumps(body)}
