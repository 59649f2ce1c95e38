"""What an endpoint serves, made of a configuration's words; and the pages of lists."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.control.aws.sagemaker.listing import page
from lambent.control.aws.sagemaker.plans import desired, percent_of, served, told
from lambent.control.aws.sagemaker.shelf import Book, Plan, Served
from lambent.core.spec import MIB
from lambent.wire.aws.faults import Fault
from lambent.wire.aws.sagemaker_control import (
    Container,
    DesiredWeight,
    Listed,
    ManagedScaling,
    Serverless,
    Variant,
)

MODEL = Book(name="m", created_unix_ms=0, modified_unix_ms=0, digest="d")


def of(**words: Any) -> Served:
    variant = Variant(variant_name="v", model_name="m", **words)
    return served(variant, MODEL, Container(environment={"A": "1"}))


def test_a_serverless_variant_sleeps_unless_something_is_provisioned() -> None:
    asleep = of(serverless_config=Serverless(memory_mb=2048, max_concurrency=7))
    assert asleep.settings == {
        "env.A": "1",
        "memory": 2048 * MIB,
        "workers_max": 7,
        "workers_min": 0,
    }
    assert told(asleep)["CurrentServerlessConfig"] == {"MemorySizeInMB": 2048, "MaxConcurrency": 7}
    up = of(serverless_config=Serverless(memory_mb=1024, max_concurrency=7, provisioned_concurrency=2))
    assert up.settings["workers_min"] == 2


@pytest.mark.parametrize(
    ("words", "least", "most", "memory"),
    [
        pytest.param({}, 1, 4, "8192MiB", id="nothing said"),
        pytest.param({"initial_instance_count": 6}, 6, 6, "8192MiB", id="six instances"),
        pytest.param({"instance_type": "ml.t2.medium"}, 1, 4, "4096MiB", id="medium"),
        pytest.param({"instance_type": "ml.m5.12xlarge"}, 1, 4, "196608MiB", id="large"),
        pytest.param(
            {"managed_instance_scaling": ManagedScaling(status="ENABLED", min_instance_count=0)},
            0, 4, "8192MiB", id="to zero",
        ),
        pytest.param(
            {"managed_instance_scaling": ManagedScaling(status="ENABLED", max_instance_count=9)},
            1, 9, "8192MiB", id="to nine",
        ),
    ],
)  # fmt: skip
def test_instances_are_workers_that_stay_up(words: Any, least: int, most: int, memory: str) -> None:
    made = of(**words)
    settings = made.settings
    assert (settings["workers_min"], settings["workers_max"], settings["memory"]) == (least, most, memory)
    assert told(made)["CurrentInstanceCount"] == least


def test_a_share_and_a_count_may_be_changed_each_by_itself() -> None:
    before = of(initial_instance_count=1)
    heavier = desired(before, DesiredWeight(variant_name="v", desired_weight=3.0))
    assert (heavier.weight, heavier.instances, heavier.settings) == (3.0, 1, before.settings)
    more = desired(before, DesiredWeight(variant_name="v", desired_instance_count=5))
    assert (more.weight, told(more)["CurrentInstanceCount"]) == (1.0, 5)
    assert (more.settings["workers_min"], more.settings["workers_max"]) == (5, 5)


@pytest.mark.parametrize(
    ("weights", "percent"), [((1, 1), 50), ((3, 1), 25), ((1, 0), 0), ((0, 2), 100), ((0, 0), 50)]
)
def test_a_share_is_a_weight_of_the_sum(weights: tuple[float, float], percent: float) -> None:
    variants = tuple(Served(variant=f"v{weight}", weight=weight, digest="d") for weight in weights)
    assert percent_of(Plan(config="c", variants=variants)) == percent


books = st.builds(
    Book,
    name=st.text("abc", min_size=1, max_size=4),
    created_unix_ms=st.integers(0, 3),
    modified_unix_ms=st.just(0),
)


@given(
    st.lists(books, max_size=12, unique_by=lambda book: book.name),
    st.integers(1, 5),
    st.sampled_from(["Name", "CreationTime", "Status"]),
    st.sampled_from(["Ascending", "Descending"]),
)
def test_the_pages_of_a_list_have_each_once_and_in_order(there: Any, size: int, by: Any, order: Any) -> None:
    asked = Listed(max_results=size, sort_by=by, sort_order=order)
    seen: list[Book] = []
    while True:
        part, token = page(there, asked)
        seen.extend(part)
        assert token is None or len(part) == size
        if token is None:
            break
        asked = msgspec.structs.replace(asked, next_token=token)
    whole, none = page(there, msgspec.structs.replace(asked, next_token=None, max_results=100))
    assert none is None
    assert seen == list(whole)
    assert sorted(book.name for book in seen) == sorted(book.name for book in there)


@pytest.mark.parametrize("token", ["", "x", "bnVsbA==", "W10=", "WzEsMiwzXQ==", "W3sieCI6MX0sImEiXQ=="])
def test_a_token_that_is_none_of_ours_is_refused(token: str) -> None:
    with pytest.raises(Fault, match="Invalid NextToken"):
        page([MODEL], Listed(next_token=token))
