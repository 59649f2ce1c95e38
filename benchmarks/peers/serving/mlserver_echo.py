"""Echo for `mlserver start`: a custom handler, since the Open Inference protocol carries tensors only.

Tuned after https://docs.seldon.ai/mlserver/user-guide/parallel-inference: `parallel_workers: 0`, so that the
model runs in the process that speaks HTTP; `debug: false`, so that requests are not logged one by one.
"""

from typing import Any

from mlserver import MLModel
from mlserver.handlers import custom_handler


class Echo(MLModel):
    """Answers what it is asked."""

    async def load(self) -> bool:
        """There is nothing to load."""
        return True

    @custom_handler(rest_path="/echo")
    async def echo(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Answer what was asked."""
        return payload
