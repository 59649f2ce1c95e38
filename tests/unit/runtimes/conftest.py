"""Real processes for the tests in this folder."""

from tests.support.user_code import environment, plan_of, serve

__all__ = ["environment", "plan_of", "serve"]
