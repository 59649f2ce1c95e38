"""Calls that were reserved for a function, and no more."""

import pytest

from lambent.core.errors import NothingReserved, QueueFull
from lambent.pool.reservations import Reservation, Reservations


def test_as_many_run_at_once_as_are_reserved() -> None:
    reservations = Reservations()
    reservations.limit("p", "f", Reservation(calls_max=2))
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
    reservations.limit("p", "f", Reservation(calls_max=0))
    with pytest.raises(NothingReserved):
        reservations.enter("p", "f")
    reservations.limit("p", "f", None)
    reservations.enter("p", "f")


def test_what_is_kept_for_a_version_is_for_its_calls_alone_and_for_those_of_an_alias_that_names_it() -> None:
    reservations = Reservations()
    reservation = Reservation(calls_max=3, kept={"1": 2}, stands_for={"live": "1", "other": "2"})
    reservations.limit("p", "f", reservation)
    reservations.enter("p", "f")
    for name in ("", "2", "other"):
        with pytest.raises(QueueFull):
            reservations.enter("p", "f", name)
    reservations.enter("p", "f", "1")
    reservations.enter("p", "f", "live")
    with pytest.raises(QueueFull):
        reservations.enter("p", "f", "1")
    reservations.leave("p", "f")
    reservations.enter("p", "f", "1")  # over what is kept for it, in the place of all
    reservations.leave("p", "f", "live")
    reservations.leave("p", "f", "1")
    reservations.enter("p", "f", "other")
