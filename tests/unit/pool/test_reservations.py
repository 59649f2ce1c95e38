"""Calls that were reserved for a function, and no more."""

import pytest

from lambent.core.errors import QueueFull
from lambent.pool.reservations import Reservations


def test_as_many_run_at_once_as_are_reserved() -> None:
    reservations = Reservations()
    reservations.limit("p", "f", 2)
    reservations.enter("p", "f")
    reservations.enter("p", "f")
    with pytest.raises(QueueFull):
        reservations.enter("p", "f")
    reservations.enter("p", "other")
    reservations.enter("q", "f")
    reservations.leave("p", "f")
    reservations.enter("p", "f")


def test_none_may_run_where_none_are_reserved_and_all_where_nobody_said() -> None:
    reservations = Reservations()
    reservations.limit("p", "f", 0)
    with pytest.raises(QueueFull):
        reservations.enter("p", "f")
    reservations.limit("p", "f", None)
    reservations.enter("p", "f")
