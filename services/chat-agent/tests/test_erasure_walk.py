"""Nothing of an erased person, end user or tenant stays in any table, also not in one that comes later."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from chat_agent.erasure.handlers import HANDLERS
from chat_agent.erasure.worker import create_erasure_worker
from chat_agent.mcp_servers.grants import GRANT
from chat_agent.models import Base
from chat_agent.settings import Settings
from chat_agent.worker import retention_rules
from redis.asyncio import Redis
from servicekit.database import Database
from servicekit.events.outbox import ReceivedEvent
from servicekit.retention import RetentionWorker
from testkit.databases import query
from testkit.issuer import Issuer
from testkit.owned_rows import insert_rows, owned_tables, rows_with

from .test_erasure import deleted, left

SECRET = "my canary is called Wilhelmine"
NOW = datetime.now(UTC)
# What the outbox has sent and the tenants themselves are known by their ids; both are no content.
IDS_ONLY = {"outbox", "leavers", "tenants"}
TABLES = [table for table in owned_tables(Base.metadata) if table.name not in IDS_ONLY]
# Who wrote what belongs to the tenant and stays in it: ids of accounts, which are not used again.
AUTHORS = {
    "agents.created_by",
    "agent_versions.created_by",
    "http_tools.created_by",
    "mcp_servers.created_by",
    "tenant_secrets.updated_by",
}
# What a person, an agent or an author wrote of a run, also where a row may be without it.
WRITTEN: dict[str, Any] = {
    **dict.fromkeys(("message", "output", "state", "error_detail", "idempotency_key", "trace_id"), SECRET),
    **{name: [SECRET] for name in ("content", "prelude", "tool_outputs", "tool_calls")},
    **{name: {"text": SECRET} for name in ("options", "definition")},
}
# What a row must have by the constraints of its table.
OVERRIDES: dict[str, dict[str, Any]] = {
    "runs": {"status": "running", "agent": "triage", "model": "m", **WRITTEN},
    "approvals": {"status": "approved", "decided_at": NOW},
    "tool_calls": {"status": "completed", "ended_at": NOW},
    "feedback": {"rating": "up", "reasons": [], "comment": SECRET},
    "files": {"purpose": "user_data", "expires_at": NOW + timedelta(days=1)},
    "memories": {"kind": "fact", "embedding": b"\0\0\0\0", "embedding_model": "m"},
    "compactions": {"summary": {"text": SECRET}},
    "agent_versions": {"state": "draft"},
    "agent_releases": {"label": "stable", "percentage": 100},
    "tenant_secrets": {"kind": "secret"},
}


@pytest.fixture
def fill(settings: Settings, tenant: UUID) -> Callable[[str], None]:
    """Insert rows of a person into all tables, and a grant for an MCP server."""
    database = settings.database_url.get_secret_value()
    grant = (
        "insert into tenant_secrets (tenant_id, kind, name, ciphertext, key_id, updated_by)"
        " select tenant_id, $2, id::text, $3, 'k', user_id from mcp_sign_ins where user_id = $1"
    )

    def insert(user: str) -> None:
        insert_rows(settings.database_url, TABLES, tenant, user, SECRET, OVERRIDES)
        query(database, "update runs set status = 'completed', ended_at = now()")
        query(database, grant, user, GRANT, SECRET)

    return insert


@pytest.fixture
def erase(settings: Settings, redis_url: str) -> Callable[..., None]:
    """Handle events, and let the workers that erase and delete take a step."""

    async def step(events: tuple[ReceivedEvent, ...]) -> None:
        database = Database(settings.database_url, name="test")
        for event in events:
            async with database.begin() as session:
                await HANDLERS[event.type](session, event)
        async with Redis.from_url(redis_url) as redis:
            await create_erasure_worker(database, redis, settings).step()
        await RetentionWorker(database, rules=retention_rules(settings)).step()
        await RetentionWorker(database, rules=retention_rules(settings)).step()
        await database.close()

    return lambda *events: asyncio.run(step(events))


@pytest.fixture
def columns_with(settings: Settings) -> Callable[[str], set[str]]:
    """Return the columns in which a text stands."""
    return lambda text: {*rows_with(settings.database_url.get_secret_value(), TABLES, text)}


def test_of_a_deleted_person_nothing_stays_but_what_is_the_tenants(
    settings: Settings,
    fill: Callable[[str], None],
    erase: Callable[..., None],
    columns_with: Callable[[str], set[str]],
) -> None:
    ann, bob = f"user:{uuid4()}", f"user:{uuid4()}"
    fill(ann)
    database = settings.database_url.get_secret_value()
    query(database, "update tenant_secrets set name = 'key' where kind = 'secret'")
    assert {name.partition(".")[0] for name in columns_with(ann)} >= {
        table.name for table in TABLES if {"user_id", "created_by", "updated_by"} & {*table.columns.keys()}
    }
    add = "insert into memories (id, tenant_id, user_id, kind, text) values ($1, $2, $3, 'fact', 'x')"
    query(database, add, uuid4(), uuid4(), bob)
    erase(left(ann))
    assert columns_with(ann) <= AUTHORS
    own = {"memories", "mcp_sign_ins", "compactions", "feedback", "approvals", "tool_calls", "files"}
    assert not {
        name for name in columns_with(SECRET) if name.partition(".")[0] in {*own, "runs", "attachments"}
    }
    kinds = query(database, "select kind from tenant_secrets")
    assert [row["kind"] for row in kinds] == ["secret"], "the tenant's own secrets stay"
    assert columns_with(bob) == {"memories.user_id"}


def test_of_a_deleted_tenant_nothing_stays(
    fill: Callable[[str], None],
    erase: Callable[..., None],
    columns_with: Callable[[str], set[str]],
    tenant: UUID,
) -> None:
    fill(f"user:{uuid4()}")
    assert {name.partition(".")[0] for name in columns_with(str(tenant))} == {
        table.name for table in TABLES if "tenant_id" in table.columns
    }
    erase(deleted(tenant, 1, timedelta(seconds=-1)))
    assert columns_with(str(tenant)) == columns_with(SECRET) == set()


def test_of_an_erased_end_user_nothing_stays(
    issuer: Issuer,
    url: str,
    fill: Callable[[str], None],
    columns_with: Callable[[str], set[str]],
    tenant: UUID,
) -> None:
    fill("service:sa.shop/ann")
    token = issuer.token(tenant_id=tenant, subject=f"user:{uuid4()}", role="owner")
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as owner:
        answer = owner.delete("/api/v1/end-users", params={"name": "ann", "application": "sa.shop"})
        assert answer.status_code == 204, answer.text
    assert columns_with("sa.shop") <= AUTHORS
