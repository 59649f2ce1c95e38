"""Keys: made once, known by their hash, useless from the moment they are removed."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from botocore.auth import SigV4Auth

from lambent.core.errors import Forbidden, NotFound, PlatformFault, Unauthenticated
from lambent.core.invocation import Principal, Role
from lambent.gateway import auth
from lambent.gateway.auth import KEY_ID, Keys
from lambent.storage.base import Key
from lambent.wire import sigv4
from tests.unit.gateway.asgi import PROJECT, House
from tests.unit.gateway.test_sigv4 import signed, signed_at_ms


def bearer(key: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + key.encode()}


def test_a_key_opens_its_project_with_its_role(house: House) -> None:
    async def story() -> None:
        made = await house.keys.create("other", "ci", Role.DEPLOY)
        for headers in (bearer(made.api_key), {b"x-api-key": made.api_key.encode()}):
            principal = await house.keys.authenticate(headers)
            assert principal == Principal("other", made.key.key_id, Role.DEPLOY)

    asyncio.run(story())


def test_a_store_in_which_every_id_is_taken_is_not_asked_for_ever(house: House) -> None:
    class Taken:
        asked = 0

        def find(self, key_id: str) -> Key:
            self.asked += 1
            return Key(
                id=key_id, project=PROJECT, name="", role=Role.READ, secret_hash="", created_unix_ms=1
            )  # fmt: skip

    store = Taken()
    keys = Keys(store, bytes(32), house.clock)  # type: ignore[arg-type]  # nothing is put or removed
    with pytest.raises(PlatformFault, match="were taken"):
        asyncio.run(keys.create(PROJECT, "ci", Role.DEPLOY))
    assert store.asked == auth.ID_TRIES_MAX


def test_the_store_never_sees_a_secret(house: House, tmp_path: Path) -> None:
    made = asyncio.run(house.key())
    house.store.close()
    secret = made.api_key.split("_", 2)[2].encode()  # it may hold a "_" itself
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert made.key.key_id.encode() in b"".join(files)
    assert secret not in b"".join(files)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "nonsense",
        "lk_00000000_" + "A" * 43,
        "lk_../../.._" + "A" * 43,
        "lk__",
        "sk_00000000_" + "A" * 43,
    ],
)
def test_a_wrong_key_is_refused(house: House, wrong: str) -> None:
    with pytest.raises(Unauthenticated):
        asyncio.run(house.keys.authenticate(bearer(wrong)))


def test_another_secret_under_a_known_id_is_refused(house: House) -> None:
    async def story() -> None:
        first, second = await house.key(), await house.key()
        await house.keys.authenticate(bearer(first.api_key))
        mixed = f"lk_{first.key.key_id}_{second.api_key.split('_', 2)[2]}"
        with pytest.raises(Unauthenticated):
            await house.keys.authenticate(bearer(mixed))

    asyncio.run(story())


def test_a_removed_key_opens_nothing(house: House) -> None:
    async def story() -> None:
        made = await house.key()
        await house.keys.authenticate(bearer(made.api_key))
        await house.keys.remove(PROJECT, made.key.key_id)
        with pytest.raises(Unauthenticated):
            await house.keys.authenticate(bearer(made.api_key))

    asyncio.run(story())


def test_a_key_that_is_removed_while_it_is_looked_up_is_not_remembered(house: House) -> None:
    async def story() -> None:
        made = await house.key()
        looking = asyncio.create_task(house.keys.authenticate(bearer(made.api_key)))
        await asyncio.sleep(0)
        await house.keys.remove(PROJECT, made.key.key_id)
        await asyncio.gather(looking, return_exceptions=True)
        with pytest.raises(Unauthenticated):
            await house.keys.authenticate(bearer(made.api_key))

    asyncio.run(story())


def test_a_key_that_is_removed_after_it_was_looked_up_but_before_it_was_let_in_opens_nothing(
    house: House,
) -> None:
    async def story() -> None:
        made = await house.key()
        await house.keys.authenticate(bearer(made.api_key))
        await asyncio.gather(
            house.keys.remove(PROJECT, made.key.key_id),
            house.keys.authenticate(bearer(made.api_key)),
        )
        with pytest.raises(Unauthenticated):
            await house.keys.authenticate(bearer(made.api_key))

    asyncio.run(story())


def test_the_number_of_keys_that_are_remembered_is_bounded(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "KEYS_KNOWN_MAX", 3)

    async def story() -> None:
        made = [await house.key() for _ in range(5)]
        for one in (*made, *made):
            await house.keys.authenticate(bearer(one.api_key))
        assert house.keys.remembered() == 3

    asyncio.run(story())


def test_a_key_of_another_project_cannot_be_removed(house: House) -> None:
    async def story() -> None:
        made = await house.key()
        with pytest.raises(NotFound):
            await house.keys.remove("other", made.key.key_id)
        await house.keys.authenticate(bearer(made.api_key))

    asyncio.run(story())


def test_keys_are_listed_without_their_secrets(house: House) -> None:
    async def story() -> None:
        made = await house.key(Role.READ)
        assert list(await house.keys.all(PROJECT)) == [made.key]
        assert list(await house.keys.all("other")) == []

    asyncio.run(story())


def test_the_local_key_is_the_same_at_every_start(house: House) -> None:
    async def story() -> None:
        first = await house.keys.local(PROJECT)
        restarted = Keys(house.store.keys, b"m" * 32, house.clock)
        assert await restarted.local(PROJECT) == first
        assert (await restarted.authenticate(bearer(first.api_key))).role is Role.ADMIN
        assert KEY_ID.fullmatch(first.api_key.split("_")[1])
        assert len(await restarted.all(PROJECT)) == 1

    asyncio.run(story())


def test_the_local_key_cannot_be_had_with_another_master(house: House) -> None:
    async def story() -> None:
        await house.keys.local(PROJECT)
        stranger = await Keys(house.store.keys, b"n" * 32, house.clock).local("elsewhere")
        assert stranger.api_key != (await house.keys.local(PROJECT)).api_key

    asyncio.run(story())


def test_the_pair_of_a_key_signs_requests(house: House) -> None:
    async def story() -> None:
        made = await house.key(Role.INVOKE)
        assert made.access_key_id.startswith("LAMB")
        assert len(made.access_key_id) == 20
        assert made.access_key_id.isupper()
        principal = await house.keys.authenticate_signed(
            *as_signed(house, made.access_key_id, made.secret_access_key)
        )
        assert principal == Principal(PROJECT, made.key.key_id, Role.INVOKE)

    asyncio.run(story())


@pytest.mark.parametrize("access_key_id", ["", "LAMB", "AKIAEXAMPLE", "LAMB" + "A" * 16, "LAMB" + "é" * 16])
def test_an_access_key_that_is_not_ours_is_unknown(house: House, access_key_id: str) -> None:
    request, signature = as_signed(house, "LAMBEXAMPLE", "secret")
    claim = msgspec.structs.replace(signature.claim, access_key_id=access_key_id)
    with pytest.raises(Unauthenticated):
        asyncio.run(
            house.keys.authenticate_signed(
                request, msgspec.structs.replace(signature, claim=claim)
            )
        )  # fmt: skip


def test_the_pair_of_a_removed_key_signs_nothing(house: House) -> None:
    async def story() -> None:
        made = await house.key()
        await house.keys.remove(PROJECT, made.key.key_id)
        with pytest.raises(Unauthenticated):
            await house.keys.authenticate_signed(
                *as_signed(house, made.access_key_id, made.secret_access_key)
            )

    asyncio.run(story())


@pytest.mark.parametrize("held", list(Role))
@pytest.mark.parametrize("needed", list(Role))
def test_each_role_includes_those_below_it(held: Role, needed: Role) -> None:
    order = [Role.READ, Role.INVOKE, Role.DEPLOY, Role.ADMIN]
    principal = Principal(PROJECT, "k", held)
    if order.index(held) >= order.index(needed):
        principal.require(needed)
    else:
        with pytest.raises(Forbidden):
            principal.require(needed)


def as_signed(house: House, access_key_id: str, secret: str) -> tuple[sigv4.SignedRequest, sigv4.Signature]:
    """A request signed with a pair, and the house's clock moved to when it was signed."""
    request = signed(
        SigV4Auth, "GET", "/2015-03-31/functions", {}, b"", access_key_id=access_key_id, secret=secret
    )
    seconds = (signed_at_ms(request) - house.clock.unix_ms()) / 1000
    house.clock.advance(max(0.0, seconds))
    signature = sigv4.read(request)
    assert signature is not None
    return request, signature
