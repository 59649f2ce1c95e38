"""Addresses of archives: good for one archive and some minutes."""

import pytest

from lambent.wire.aws.downloads import VALID_S, digest_in, path_of

MASTER = b"m" * 32
DIGEST = "a" * 64
PATH = path_of(MASTER, DIGEST, now_unix_s=1000)


def test_an_address_gives_its_archive_until_it_expires() -> None:
    assert digest_in(PATH, MASTER, now_unix_s=1000) == DIGEST
    assert digest_in(PATH, MASTER, now_unix_s=1000 + VALID_S - 1) == DIGEST
    assert digest_in(PATH, MASTER, now_unix_s=1000 + VALID_S) is None


@pytest.mark.parametrize(
    "path",
    [
        PATH.replace(DIGEST, "b" * 64),
        PATH.replace("1600", "9600"),
        PATH.replace("/code.zip", "/../code.zip"),
        PATH + "/",
        "/lambda-code/",
        path_of(b"n" * 32, DIGEST, now_unix_s=1000),
    ],
)
def test_an_address_that_was_changed_gives_nothing(path: str) -> None:
    assert digest_in(path, MASTER, now_unix_s=1000) is None
