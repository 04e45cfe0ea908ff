"""Secrets of tenants: stored encrypted, never returned, and readable through a change of the key."""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from chat_agent.main import create_app
from chat_agent.settings import Settings
from chat_agent.tenant_secrets import store
from chat_agent.tenant_secrets.errors import SecretNotFound
from chat_agent.tenant_secrets.rotation import SecretReencryption
from pydantic import SecretStr
from servicekit.database import Database
from servicekit.encryption import DecryptionFailed
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from testkit.live_server import serving

from .client_helpers import error_of

SECRETS = "/api/v1/secrets"
VALUE = "sk-orders-0123456789-abcd"
OLD, NEW = (SecretStr(urlsafe_b64encode(bytes([number]) * 32).decode()) for number in (1, 2))
Person = Callable[..., httpx.Client]


@pytest.fixture
def tenant_id() -> UUID:
    return uuid4()


@pytest.fixture
def admin(person: Person, tenant_id: UUID) -> httpx.Client:
    return person(tenant_id, role="admin")


@pytest.fixture
def in_database(settings: Settings) -> Callable[..., Any]:
    """Return a function that runs another with a session in a transaction."""

    def run(function: Callable[[AsyncSession], Awaitable[Any]]) -> Any:
        async def in_transaction() -> Any:
            database = Database(settings.database_url, name="test")
            try:
                async with database.begin() as session:
                    return await function(session)
            finally:
                await database.close()

        return asyncio.run(in_transaction())

    return run


def read(in_database: Callable[..., Any], keys: store.Keys, tenant_id: UUID, name: str) -> str:
    value = in_database(lambda session: store.read(session, keys, tenant_id, name))
    return value.get_secret_value()


def put(client: httpx.Client, name: str, value: str = VALUE) -> httpx.Response:
    return client.put(f"{SECRETS}/{name}", json={"value": value})


def test_a_secret_is_stored_and_never_returned(
    admin: httpx.Client, in_database: Callable[..., Any], tenant_id: UUID, settings: Settings
) -> None:
    first, second = put(admin, "orders_key"), put(admin, "orders_key", f"{VALUE}-wxyz")
    assert (first.status_code, first.json()["hint"], second.json()["hint"]) == (200, "abcd", "wxyz")
    assert first.json()["created_at"] == second.json()["created_at"]
    listed = admin.get(SECRETS)
    assert [one["name"] for one in listed.json()] == ["orders_key"]
    assert VALUE not in first.text + second.text + listed.text
    rows = in_database(lambda session: session.execute(text("select * from tenant_secrets")))
    assert VALUE not in str(rows.all())
    assert read(in_database, settings.secret_keys, tenant_id, "orders_key") == f"{VALUE}-wxyz"
    assert admin.delete(f"{SECRETS}/orders_key").status_code == 204
    assert error_of(admin.delete(f"{SECRETS}/orders_key")) == (404, "secret_not_found")


def test_a_short_secret_has_no_hint(admin: httpx.Client) -> None:
    assert put(admin, "pin", "12345678").json()["hint"] == ""


def test_another_tenant_and_a_member_have_nothing_to_do_with_it(
    admin: httpx.Client, person: Person, tenant_id: UUID
) -> None:
    put(admin, "orders_key")
    other, member = person(uuid4(), role="owner"), person(tenant_id)
    assert other.get(SECRETS).json() == []
    assert error_of(other.delete(f"{SECRETS}/orders_key")) == (404, "secret_not_found")
    assert {member.get(SECRETS).status_code, put(member, "orders_key").status_code} == {403}


@pytest.mark.parametrize("value", ["", "a\nb", "a\x00b", "a\x01b", "a\x7fb", "x" * 8001, ["sk-orders"]])
def test_what_no_header_can_have_is_refused(admin: httpx.Client, value: object) -> None:
    response = admin.put(f"{SECRETS}/orders_key", json={"value": value})
    assert response.status_code == 422
    assert not value or str(value) not in response.text


def test_a_tenant_has_a_hundred(admin: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_SECRETS", 1)
    put(admin, "first")
    assert put(admin, "first").status_code == 200
    assert error_of(put(admin, "second")) == (409, "too_many_secrets")


def test_a_ciphertext_is_of_no_use_in_another_row(
    admin: httpx.Client, in_database: Callable[..., Any], tenant_id: UUID, settings: Settings
) -> None:
    put(admin, "orders_key")
    in_database(lambda session: session.execute(text("update tenant_secrets set name = 'mine'")))
    with pytest.raises(DecryptionFailed):
        read(in_database, settings.secret_keys, tenant_id, "mine")
    with pytest.raises(SecretNotFound):
        read(in_database, settings.secret_keys, uuid4(), "mine")


def test_a_change_of_the_key_encrypts_anew(
    in_database: Callable[..., Any], tenant_id: UUID, settings: Settings
) -> None:
    names = [f"name_{number}" for number in range(3)]

    async def write(session: AsyncSession) -> None:
        for name in names:
            await store.write(session, [OLD], tenant_id, name, SecretStr(VALUE), updated_by="user:ann")

    async def reencrypt() -> list[int]:
        database = Database(settings.database_url, name="test")
        worker = SecretReencryption(database, [NEW, OLD])
        counts = [await worker.reencrypt(), await worker.reencrypt()]
        await database.close()
        return counts

    in_database(write)
    assert asyncio.run(reencrypt()) == [3, 0]
    assert {read(in_database, [NEW], tenant_id, name) for name in names} == {VALUE}


def test_an_installation_without_a_key_says_so(settings: Settings, admin: httpx.Client) -> None:
    app = create_app(settings.model_copy(update={"tenant_secrets_encryption_key": None}))
    with serving(app) as url:
        response = httpx.put(
            f"{url}{SECRETS}/orders_key", json={"value": VALUE}, headers=admin.headers, timeout=60
        )
    assert error_of(response) == (503, "tenant_secrets_disabled")
