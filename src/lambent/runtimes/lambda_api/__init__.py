"""AWS Lambda's Runtime API as the worker serves it to a program: HTTP, endpoints, what becomes of answers."""
