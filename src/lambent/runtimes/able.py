"""What a loaded model can do, whatever it was loaded from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from lambent.runtimes.base import Body, Reply
from lambent.runtimes.tensors import exchange as tensors
from lambent.runtimes.together import Forms
from lambent.wire.frames import Call

if TYPE_CHECKING:
    from lambent.runtimes.skills import Skills


class Able(msgspec.Struct, frozen=True):
    """What a loaded model can do: `predict` from decoded inputs, and `rehearse` it with inputs of its own.

    `together`, where there is another way than to `predict` on the rows of all, makes of several inputs as
    many results or exceptions. `example` is JSON that `predict` may be given in a template; empty where user
    code would see it. `read` makes the inputs of a call's body, `write` a reply of its result. `skills` are
    its methods beside `predict`, which there may not be then.
    """

    predict: Callable[[object], object] | None
    rehearse: Callable[[], object]
    together: Callable[[Sequence[object], Forms], Sequence[object]] | None = None
    example: bytes = b""
    read: Callable[[Call, Body], object] = tensors.read_call
    write: Callable[[Call, object], Reply] = tensors.write_call
    skills: Skills | None = None
