"""Every item comes once an epoch, whoever shares the work, and what is left is the same after any stop."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.permuting import COUNT_MAX, Order, Pace, Place, permuted, shard, share

START = Place()

counts = st.integers(0, 300)
seeds = st.integers(-(2**70), 2**70)


def epoch_of(order: Order, epoch: int = 0) -> list[int]:
    return [order.item(position, epoch) for position in range(order.count)]


def course(order: Order, pace: Pace, place: Place | None = START) -> list[tuple[int, list[int]]]:
    """Every batch from a place on, with its epoch."""
    found = []
    while (place := pace.settled(place, order.count)) is not None:
        taken = [order.item(position, place.epoch) for position in pace.positions(place, order.count)]
        found.append((place.epoch, taken))
        place = pace.after(place, order.count)
    return found


@given(counts, seeds, st.integers(0, 5))
def test_a_shuffled_epoch_has_every_item_once(count: int, seed: int, epoch: int) -> None:
    assert sorted(epoch_of(Order(count, seed), epoch)) == list(range(count))


def test_the_order_of_a_seed_is_the_same_on_every_machine_and_python() -> None:
    assert epoch_of(Order(10, 0)) == [2, 6, 1, 8, 5, 3, 0, 4, 9, 7]
    assert epoch_of(Order(10, 0), 1) != epoch_of(Order(10, 0))
    assert epoch_of(Order(10)) == list(range(10))
    assert [Order(10**12, 7).item(p, 3) for p in (0, 1, 10**12 - 1)] == [
        306625700601,
        730071022250,
        548247733084,
    ]


def test_positions_that_are_none_are_refused() -> None:
    for position in (-1, 10):
        with pytest.raises(IndexError):
            Order(10, 1).item(position)
    with pytest.raises(ValueError, match="items"):
        Order(COUNT_MAX + 1)


@given(st.integers(2, 40), seeds)
def test_arrays_are_permuted_as_numbers_are(bits: int, seed: int) -> None:
    keys = Order(2, seed).keys(0)
    values = [number % 2**bits for number in range(0, 2**20, 9973)]
    together = permuted(np.array(values, np.uint64), keys, bits)
    assert together.tolist() == [permuted(value, keys, bits) for value in values]


def test_shuffles_are_even() -> None:
    """Each item is at each place about equally often, and neighbours do not stay together."""
    count, tries = 8, 4000
    seen = np.zeros((count, count))
    together = 0
    for seed in range(tries):
        found = epoch_of(Order(count, seed))
        seen[np.arange(count), found] += 1
        together += sum(abs(a - b) == 1 for a, b in pairwise(found))
    expected = tries / count
    chi_square = ((seen - expected) ** 2 / expected).sum()
    assert chi_square < 100  # 49 degrees of freedom: 1 in 30,000 chance shuffles is above 94
    assert together / tries == pytest.approx(2 * (count - 1) / count, rel=0.1)


@given(counts, st.integers(1, 9))
def test_shards_cover_every_item_exactly_once_and_are_even(count: int, world: int) -> None:
    shards = [shard(count, rank, world) for rank in range(world)]
    assert sorted(one for each in shards for one in each) == list(range(count))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@given(counts, seeds, st.integers(1, 7), st.integers(1, 5), st.integers(0, 3))
def test_ranks_share_each_epoch_exactly_once(
    count: int, seed: int, size: int, world: int, epochs: int
) -> None:
    order = Order(count, seed)
    paces = [Pace(size=size, rank=rank, world=world, epochs=epochs) for rank in range(world)]
    for epoch in range(epochs):
        taken = [one for pace in paces for at, batch in course(order, pace) if at == epoch for one in batch]
        assert sorted(taken) == list(range(count))
    for pace in paces:
        batches = [batch for _, batch in course(order, pace) if batch]
        assert len(batches) == pace.batches(count) * epochs
        assert all(len(batch) <= size for batch in batches)


@given(counts, seeds, st.integers(1, 7), st.integers(1, 5), st.integers(0, 40))
def test_what_is_left_is_the_same_wherever_it_is_taken_up(
    count: int, seed: int, size: int, world: int, stop: int
) -> None:
    order, pace = Order(count, seed), Pace(size=size, rank=world - 1, world=world, epochs=3)
    place: Place | None = Place()
    for _ in range(stop):
        if (settled := pace.settled(place or Place(), count)) is not None:
            place = pace.after(settled, count)
    whole = course(order, pace)
    assert course(order, pace, place) == whole[min(stop, len(whole)) :]


@given(counts, seeds, st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 30))
def test_another_number_of_ranks_shares_what_is_left(
    count: int, seed: int, size: int, before: int, after: int, stop: int
) -> None:
    order = Order(count, seed)
    place, taken = Place(), []
    for _ in range(stop):
        settled = Pace(size=size, world=before).settled(place, count)
        if settled is None:
            break
        for rank in range(before):
            at = Pace(size=size, rank=rank, world=before).positions(settled, count)
            taken += [order.item(position) for position in at]
        place = Pace(size=size, world=before).after(settled, count)
    for rank in range(after):
        for _, batch in course(order, Pace(size=size, rank=rank, world=after), place):
            taken += batch
    assert sorted(taken) == list(range(count))


@given(counts, st.integers(1, 7), st.integers(1, 5))
def test_even_ranks_take_equally_many_whole_batches(count: int, size: int, world: int) -> None:
    order = Order(count, 5)
    paces = [Pace(size=size, rank=rank, world=world, even=True) for rank in range(world)]
    courses = [course(order, pace) for pace in paces]
    assert {len(one) for one in courses} == {count // (size * world)} == {p.batches(count) for p in paces}
    assert all(len(batch) == size for one in courses for _, batch in one)


def test_a_pace_that_makes_no_sense_is_refused() -> None:
    for wrong in ({"size": 0}, {"size": 1, "rank": 2, "world": 2}, {"size": 1, "epochs": -1}):
        with pytest.raises(ValueError, match=r"batch|rank|epochs"):
            Pace(**wrong)


def test_items_are_parted_by_their_keys_alone() -> None:
    shares = [share(key, 3) for key in range(20_000)]
    assert all(0 <= one < 1 for one in shares)
    assert sum(one < 0.9 for one in shares) / len(shares) == pytest.approx(0.9, abs=0.01)
    assert share(17, 3) == shares[17]
    assert share(17, 4) != shares[17]
