"""Where the generators of random numbers stand, so that a run that goes on draws what it would have drawn."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec


class Source(msgspec.Struct, frozen=True):
    """One package with a generator of its own. `read` gives None where it has none yet."""

    module: str
    read: Callable[[Any], Any]
    write: Callable[[Any, Any], object]


def captured() -> dict[str, Any]:
    """The states of the generators of all packages that are imported."""
    found = {}
    for source in SOURCES:
        module = sys.modules.get(source.module)
        if module is not None and (state := source.read(module)) is not None:
            found[source.module] = state
    return found


def put_back(states: Mapping[str, Any]) -> None:
    """Let each go on from there. A package that is not imported yet is: user code would draw from it anew."""
    for source in SOURCES:
        if source.module in states:
            source.write(importlib.import_module(source.module), states[source.module])


def _torch(torch: Any) -> Any:
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return torch.get_rng_state(), on_gpus


def _to_torch(torch: Any, state: tuple[Any, Any]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None and torch.cuda.device_count() == len(state[1]):
        torch.cuda.set_rng_state_all(state[1])


# Keras draws from a generator of its own where a layer or a call names none.
def _keras(generators: Any) -> Any:
    there = _global_state().get_global_attribute(generators.GLOBAL_SEED_GENERATOR)
    return None if there is None else there.state.numpy()


def _to_keras(generators: Any, state: Any) -> None:
    generators.global_seed_generator().state.assign(state)


def _global_state() -> Any:
    return importlib.import_module("keras.src.backend.common.global_state")


# TensorFlow's operations take their seeds from here. What a kernel in a data set has drawn, nobody can read.
def _tensorflow(context: Any) -> Any:
    there = context.context()
    seeds = getattr(there, "_rng", None)
    return None if seeds is None else (there._seed, seeds.getstate())  # noqa: SLF001 - there is no other way


def _to_tensorflow(context: Any, state: Any) -> None:
    seed, seeds = state
    there = context.context()
    there._set_global_seed(seed)  # noqa: SLF001 - as tf.random.set_seed does
    there._rng.setstate(seeds)  # noqa: SLF001 - there is no other way


SOURCES: Final[Sequence[Source]] = (
    Source("random", lambda _: random.getstate(), lambda _, state: random.setstate(state)),
    Source("numpy.random", lambda it: it.get_state(), lambda it, state: it.set_state(state)),
    Source("torch", _torch, _to_torch),
    Source("keras.src.random.seed_generator", _keras, _to_keras),
    Source("tensorflow.python.eager.context", _tensorflow, _to_tensorflow),
)
