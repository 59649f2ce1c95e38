"""The probe of a template: one fork that shows, before anybody waits for it, that forks of it can serve."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from lambent.engines.base import WorkerGone
from lambent.engines.endings import ended
from lambent.engines.local_worker import fork_worker
from lambent.engines.template import Template, TemplateGone, TemplateHung
from lambent.wire.process import ChildRole, RevisionPlan

# A rehearsal takes milliseconds; what takes this long waits for something that will not come.
PROBE_TIMEOUT_S: Final = 10.0
BODY_BYTES_MAX: Final = 1 << 20


async def probe(template: Template, plan: RevisionPlan, *, timeout_s: float) -> tuple[str, ...]:
    """Why workers of `plan` must not be forked from `template`, one sentence each; empty if they may.

    Raises `LoadFailed` for what is the fault of user code and would be in every worker, `TemplateGone`.
    """
    try:
        worker, _ = await fork_worker(
            template,
            f"p-{os.urandom(6).hex()}",
            ChildRole.PROBE,
            plan,
            body_bytes_max=BODY_BYTES_MAX,
            on_chunk=lambda _: None,
        )
    except TemplateHung:
        # As where `logging`'s lock was left held: what runs before each fork waits for it.
        return ("it hung when it was told to fork: something that is to run before a fork waits without end",)
    try:
        async with asyncio.timeout(timeout_s):
            await worker.hello()
    except TimeoutError:
        return (f"a fork of it hung: it did not finish a rehearsal within {timeout_s:g} s",)
    except WorkerGone as gone:
        if not template.usable:
            raise TemplateGone(template.name) from None
        return (f"a fork of it {ended(gone.exit, worker.printed())}",)
    finally:
        worker.kill()
        await worker.exited()
    return ()
