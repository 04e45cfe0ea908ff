"""What the tests of conversation share: the service on real parts, and people who call it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from conversation.main import create_app
from conversation.settings import Settings
from fastapi import FastAPI
from testkit.app import client, running
from testkit.issuer import Issuer

Door = Callable[..., httpx.AsyncClient]


@pytest.fixture(scope="module")
def settings(migrated: Callable[[str], str], common_settings: dict[str, Any]) -> Settings:
    return Settings(
        **common_settings,
        # Between two tests nothing runs, and a worker that stopped amid a transaction would be in the way.
        run_workers=False,
        database_url=migrated("conversation"),
    )


@pytest.fixture(scope="module")
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    async with running(create_app(settings)) as app:
        yield app


@pytest.fixture
def person(app: FastAPI, issuer: Issuer) -> Door:
    """Return a client of the public port: of somebody, or of the one whose tenant and subject are given."""

    def client_for(
        tenant_id: UUID | None = None, subject: str | None = None, role: str = "member"
    ) -> httpx.AsyncClient:
        return client(app, issuer.token(tenant_id=tenant_id, subject=subject, role=role))

    return client_for


@pytest.fixture
def service(app: FastAPI, issuer: Issuer) -> Door:
    """Return a client of the internal port, on behalf of somebody, or of the one who is given."""

    def client_for(
        tenant_id: UUID | None = None,
        subject: str | None = None,
        scope: str = "conversations:read conversations:write",
    ) -> httpx.AsyncClient:
        token = issuer.service_token("chat-agent", audience="conversation", scope=scope)
        whose = f"{tenant_id or uuid4()}/{subject or f'user:{uuid4()}'}"
        return client(app.state.internal, token, **{"Acme-On-Behalf-Of": whose})

    return client_for


@pytest.fixture
def ann(person: Door) -> httpx.AsyncClient:
    """Somebody who has conversations."""
    return person()


@pytest.fixture
def begin() -> Callable[..., Awaitable[str]]:
    """Return a function that begins a conversation in which the user has said things, and returns its id."""

    async def conversation(who: httpx.AsyncClient, *messages: str, title: str | None = None) -> str:
        answer = await who.post("/api/v1/conversations", json={"title": title})
        conversation_id: str = answer.json()["conversation_id"]
        items = [
            {"id": f"m{number}", "data": {"role": "user", "content": text}}
            for number, text in enumerate(messages, 1)
        ]
        if items:
            answer = await who.post(f"/api/v1/conversations/{conversation_id}/items", json={"items": items})
            assert answer.status_code == 200, answer.text
        return conversation_id

    return conversation
