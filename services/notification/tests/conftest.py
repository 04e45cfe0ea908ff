import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from notification import resend_mailer
from notification.main import create_app
from notification.settings import Settings
from pydantic import SecretStr
from redis.asyncio import Redis
from sandbox.mail import create_mail
from servicekit.encryption import encrypt
from testkit.app import running
from testkit.eventually import until_async
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving

from .directory import Directory

SEALING_KEY = "c2l4dGVlbi1ieXRlcy1hbmQtc2l4dGVlbi1tb3JlLi4"
API_KEY = "re_for_these_tests"


@pytest.fixture(scope="session", autouse=True)
def _busy_machine_of_notification() -> Iterator[None]:
    """Allow the mail server as long as a busy machine takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resend_mailer, "TIMEOUT", httpx.Timeout(60))
        yield


@pytest.fixture(scope="session")
def mail_url() -> Iterator[str]:
    """A mail server on a real socket: the sandbox, which speaks Resend's protocol."""
    with serving(create_mail()) as url:
        yield url


@pytest.fixture(scope="session")
def directory_server(issuer: Issuer) -> Iterator[tuple[Directory, str]]:
    directory = Directory(issuer)
    with serving(directory.app) as url:
        yield directory, url


@pytest.fixture
def directory(directory_server: tuple[Directory, str]) -> Iterator[Directory]:
    """auth and billing-webhook, as far as they tell addresses."""
    directory, _ = directory_server
    yield directory
    directory.tenants.clear()
    directory.billing_emails.clear()
    directory.down = False


@pytest.fixture(scope="session")
def settings(
    migrated: Callable[[str], str],
    common_settings: dict[str, Any],
    mail_url: str,
    directory_server: tuple[Directory, str],
) -> Settings:
    return Settings(
        **common_settings,
        database_url=migrated("notification"),
        app_public_url="https://app.acme.test/",
        event_sealing_key=SEALING_KEY,
        resend_email_enabled=True,
        resend_api_key=API_KEY,
        resend_default_from="Acme <hello@acme.test>",
        resend_base_url=mail_url,
        service_client_secret="of these tests",
        auth_internal_url=directory_server[1],
        billing_internal_url=directory_server[1],
    )


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    async with running(create_app(settings)) as app:
        yield app


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as redis:
        yield redis


@pytest.fixture
def until() -> Callable[..., Awaitable[Any]]:
    return until_async


@dataclass
class PostOffice:
    """What a person sees of the mail server, and how a test disturbs it."""

    http: httpx.AsyncClient

    async def mails(self, to: str) -> list[Any]:
        """List the mails to an address."""
        return list((await self.http.get("/inbox", params={"to": to})).json())

    async def arrival(self, to: str) -> Any:
        """Wait for the mail to an address, and give it; it is the only one."""
        [mail] = await until_async(lambda: self.mails(to))
        return mail

    async def attempts(self) -> list[Any]:
        """List the requests to send, whatever came of them."""
        return list((await self.http.get("/_sandbox/attempts")).json())

    async def fail(self, status: int, **how: Any) -> None:
        """Make the next request fail."""
        assert (await self.http.post("/_sandbox/faults", json={"status": status, **how})).is_success


@pytest.fixture
async def post_office(mail_url: str) -> AsyncIterator[PostOffice]:
    async with httpx.AsyncClient(base_url=mail_url, verify=NO_AUTHORITIES, timeout=60) as http:
        yield PostOffice(http)


@pytest.fixture(autouse=True)
def _mail_is_cleared(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "mail_url" in request.fixturenames:
        url = request.getfixturevalue("mail_url")
        httpx.delete(f"{url}/_sandbox/faults", verify=NO_AUTHORITIES, timeout=60)
        httpx.delete(f"{url}/inbox", verify=NO_AUTHORITIES, timeout=60)


@dataclass
class Person:
    """Someone who has signed up, and the event that tells of it."""

    email: str
    user_id: str
    tenant_id: str
    token: str
    sealed: str
    event_id: UUID


@pytest.fixture
def sign_up(redis: Redis) -> Callable[..., Awaitable[Person]]:
    """Publish to this service, as auth does, that someone signed up; changes replace parts of the data."""

    async def publish(
        *,
        event_id: UUID | None = None,
        expires_in: float = 3600,
        type: str = "auth.email.requested.v1",
        traceparent: str | None = None,
        user_id: str | None = None,
        tenant_name: str | None = "Analytical Engines",
        **changes: Any,
    ) -> Person:
        user_id, token = user_id or f"user:{uuid4()}", f"{uuid4()}.s3cr+t/{uuid4().hex}"
        sealed = encrypt(SecretStr(SEALING_KEY), token, context=user_id)
        expires_at = (datetime.now(UTC) + timedelta(seconds=expires_in)).isoformat()
        common = {
            "tenant_id": str(uuid4()),
            "email": f"{uuid4().hex}@example.com",
            "display_name": "Ada Lovelace",
        }
        request = {"kind": "email_verification", "recipient": user_id, "token": sealed}
        # As auth wrote it in the version before.
        verification = {"token": sealed, "expires_at": expires_at}
        before = {"user_id": user_id, "tenant_name": tenant_name, "verification": verification}
        now = {**request, "facts": {"tenant_name": tenant_name or ""}, "expires_at": expires_at}
        data = {**common, **(now if type == "auth.email.requested.v1" else before), **changes}
        event_id = event_id or uuid4()
        entry = {
            "specversion": "1.0",
            "id": str(event_id),
            "source": "acme/auth",
            "type": type,
            "subject": user_id,
            "time": datetime.now(UTC).isoformat(),
            "datacontenttype": "application/json",
            "data": json.dumps(data),
            **({"traceparent": traceparent} if traceparent else {}),
        }
        await redis.xadd("events:auth", entry)
        return Person(data["email"], user_id, data["tenant_id"], token, sealed, event_id)

    return publish


@pytest.fixture
async def rows(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """The service's database, as an operator sees it."""
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    yield connection
    await connection.close()


@pytest.fixture
def row_of(rows: asyncpg.Connection) -> Callable[..., Awaitable[Any]]:
    """Wait until the row of a person's mail has such values, and give it."""

    async def reached(person: Person, **values: Any) -> Any:
        async def row() -> Any:
            delivery = await rows.fetchrow("select * from deliveries where address = $1", person.email)
            return (
                delivery
                if delivery and all(delivery[name] == value for name, value in values.items())
                else None
            )

        return await until_async(row)

    return reached


@pytest.fixture
def mailed(post_office: PostOffice) -> Callable[[Person], Awaitable[Any]]:
    """Wait for the mail to a person, and give it; it is the only one."""
    return lambda person: post_office.arrival(person.email)


@pytest.fixture
def publish(redis: Redis) -> Callable[..., Awaitable[None]]:
    """Publish to this service what happened in billing."""

    async def publish_event(
        tenant_id: str,
        type_: str,
        data: dict[str, Any],
        *,
        event_id: UUID | None = None,
        time: datetime | None = None,
    ) -> None:
        entry = {
            "specversion": "1.0",
            "id": str(event_id or uuid4()),
            "source": "acme/billing-webhook",
            "type": f"billing.{type_}.v1",
            "subject": f"tenant:{tenant_id}",
            "time": (time or datetime.now(UTC)).isoformat(),
            "datacontenttype": "application/json",
            "data": json.dumps({"tenant_id": tenant_id, **data}),
        }
        await redis.xadd("events:billing-webhook", entry)

    return publish_event
