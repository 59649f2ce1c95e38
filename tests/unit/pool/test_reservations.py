"""Calls that were reserved for a function, and no more."""

import pytest

from lambent.core.errors import QueueFull
from lambent.pool.reservations import Reservations


def test_as_many_run_at_once_as_are_reserved() -> None:
    reservations = Reservations()
    reservations.limit("p", "f", 2)
    with reservations.taken("p", "f"), reservations.taken("p", "f"):
        with pytest.raises(QueueFull), reservations.taken("p", "f"):
            pass
        with reservations.taken("p", "other"), reservations.taken("q", "f"):
            pass
    with reservations.taken("p", "f"):
        pass


def test_a_call_that_fails_gives_its_place_back() -> None:
    reservations = Reservations()
    reservations.limit("p", "f", 1)
    with pytest.raises(ValueError, match="x"), reservations.taken("p", "f"):
        raise ValueError("x")
    with reservations.taken("p", "f"):
        pass


def test_none_may_run_where_none_are_reserved_and_all_where_nobody_said() -> None:
    reservations = Reservations()
    reservations.limit("p", "f", 0)
    with pytest.raises(QueueFull), reservations.taken("p", "f"):
        pass
    reservations.limit("p", "f", None)
    with reservations.taken("p", "f"):
        pass
