"""Leaving for good, as it is seen from outside, and in the databases that nobody outside sees."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
from starter_cli.paths import SERVICES
from starter_cli.stack import Stack

from .conftest import PASSWORD, Inbox, Person, until

SLOW = "Tell me more [sandbox: tokens=400, rate=10]"
ASKED = (
    "/api/v1/auth/me",
    "/api/v1/auth/account/export",
    "/api/v1/conversations",
    "/api/v1/runs",
    "/api/v1/agents",
    "/api/v1/export",
    "/api/v1/notifications",
)


def query(stack: Stack, service: str, statement: str, *values: object) -> list[Any]:
    """Query a service's own database."""

    async def fetch() -> list[Any]:
        connection = await asyncpg.connect(stack.layout.database_url(service))
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    return asyncio.run(fetch())


# What a service knows of an account that is no more: its id, and what has happened.
RECORDS = {"leavers", "outbox", "inbox", "idempotency_keys"}
TABLES = """
    select table_name from information_schema.tables
    where table_schema = 'public' and table_type = 'BASE TABLE' order by table_name
"""


def tables_with(stack: Stack, service: str, text: str) -> set[str]:
    """Return the tables of a service in whose rows a text stands, also of tables that come later."""
    names = {row["table_name"] for row in query(stack, service, TABLES)} - RECORDS
    one = "select '{0}' as name where exists (select from \"{0}\" as one where one::text like $1)"
    statement = " union all ".join(map(one.format, sorted(names)))
    return {row["name"] for row in query(stack, service, statement, f"%{text}%")}


def test_who_leaves_for_good_is_forgotten_by_all_and_their_usage_stays(
    stack: Stack, register: Callable[..., str], inbox: Inbox, someone: Callable[[], Person]
) -> None:
    email, person = register(), someone()
    person.verify(inbox.token(email))
    bundle = person.sign_in(email, PASSWORD).json()
    user, tenant_id = bundle["user_id"], person.tenant_id
    done = person.stream("Hello, my canary is called Wilhelmine")[-1][1].data
    remembered = person.http.post("/api/v1/memories", json={"text": "My canary is called Wilhelmine"})
    assert remembered.status_code == 201, remembered.text
    used = until(lambda: (usage := person.usage())["runs"] and usage)
    begun = person.http.post("/api/v1/runs", json={"message": SLOW})
    assert begun.status_code == 202, begun.text
    assert query(stack, "conversation", "select id from conversations where user_id = $1", user)

    left = person.http.post("/api/v1/auth/account/delete", json={"password": PASSWORD})
    assert left.status_code == 204, left.text
    until(lambda: {person.http.get(path).status_code for path in ASKED} == {401})
    refresh = {"refresh_token": bundle["refresh_token"]}
    assert person.http.post("/api/v1/auth/refresh", json=refresh).status_code == 401
    del person.http.headers["Authorization"]
    assert person.sign_in(email, PASSWORD).status_code == 401

    for service, statement in {
        "auth": "select id from users where 'user:' || id = $1",
        "conversation": "select id from conversations where user_id = $1",
        "chat-agent": "select id from runs where user_id = $1",
        "billing-webhook": "select id from usage_entries where user_id = $1",
        "notification": "select id from deliveries where user_id = $1 and address <> ''",
    }.items():
        until(lambda service=service, statement=statement: not query(stack, service, statement, user))
    assert {"auth", "conversation", "chat-agent", "billing-webhook", "notification"} == set(SERVICES)
    for service in ("conversation", "chat-agent"):
        for text in (user, "Wilhelmine"):
            until(lambda service=service, text=text: not tables_with(stack, service, text))
    stored = until(
        lambda: query(
            stack,
            "billing-webhook",
            "select count(distinct run_id) as runs, sum(output_tokens) as output_tokens, count(*) as named"
            " from usage_entries where tenant_id::text = $1",
            tenant_id,
        )
    )[0]
    assert stored["runs"] >= used["runs"]
    assert stored["output_tokens"] >= used["output_tokens"]
    conversations = query(
        stack, "conversation", "select id from conversations where id::text = $1", done["conversation_id"]
    )
    assert conversations == []
