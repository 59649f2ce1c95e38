"""What makes up a training, taken as values and put back into the same objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple


class Way(NamedTuple):
    """How parts of one kind are taken and put back."""

    fits: Callable[[Any], bool]
    take: Callable[[Any], Any]
    put: Callable[[Any, Any], object]


def taken(part: Any) -> Any:
    """The part's state, which may refer to its memory. Raises `TypeError` where there is no way."""
    return _way(part).take(part)


def put_back(part: Any, state: Any) -> None:
    """Give the part a state that was taken from one like it."""
    _way(part).put(part, state)


def _way(part: Any) -> Way:
    for way in WAYS:
        if way.fits(part):
            return way
    raise TypeError(
        f"a {type(part).__name__} cannot be restored in place: put it into a list or a dictionary"
    )


def _has(*names: str) -> Callable[[Any], bool]:
    return lambda part: all(callable(getattr(part, name, None)) for name in names)


def _has_variables(part: Any) -> bool:
    variables = getattr(part, "variables", None)
    return isinstance(variables, list | tuple) and all(_has("assign")(each) for each in variables)


def _assign(part: Any, values: Sequence[Any]) -> None:
    if len(part.variables) != len(values):
        raise ValueError(
            f"the {type(part).__name__} has {len(part.variables)} variables, and had {len(values)} when"
            " it was committed: build it before the loop"
        )
    for variable, value in zip(part.variables, values, strict=True):
        variable.assign(value)


def _replace_dict(part: dict[Any, Any], state: dict[Any, Any]) -> None:
    part.clear()
    part.update(state)


def _replace_list(part: list[Any], state: list[Any]) -> None:
    part[:] = state


WAYS: Final[Sequence[Way]] = (
    Way(lambda part: isinstance(part, dict), dict, _replace_dict),
    Way(lambda part: isinstance(part, list), list, _replace_list),
    Way(
        _has("state_dict", "load_state_dict"),
        lambda it: it.state_dict(),
        lambda it, state: it.load_state_dict(state),
    ),
    Way(_has_variables, lambda it: [variable.numpy() for variable in it.variables], _assign),
    Way(_has("state", "load"), lambda it: it.state(), lambda it, state: it.load(state)),
    Way(
        lambda part: hasattr(part, "bit_generator"),
        lambda it: it.bit_generator.state,
        lambda it, state: setattr(it.bit_generator, "state", state),
    ),
    Way(_has("getstate", "setstate"), lambda it: it.getstate(), lambda it, state: it.setstate(state)),
    Way(_has("get_state", "set_state"), lambda it: it.get_state(), lambda it, state: it.set_state(state)),
    Way(lambda part: hasattr(part, "__dict__"), vars, lambda it, state: _replace_dict(vars(it), state)),
)
