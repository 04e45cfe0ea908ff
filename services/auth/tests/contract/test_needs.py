"""What auth needs of others: the events that it stores in the audit log."""

import json

import pytest
from auth.worker import HANDLERS
from pact import match
from testkit.pacts import TENANT, USER, consumer_pact

TYPE = "billing.audit.recorded.v1"
RECORDED = {
    "tenant_id": match.uuid(str(TENANT)),
    "action": match.regex("billing_budget_created", regex=r"^billing_[a-z_]{1,56}$"),
    "actor": match.regex(USER, regex=r"^user:[0-9a-f-]{36}$"),
    "session_id": match.uuid("5e550000-0000-4000-8000-000000000001"),
    "request_id": match.like("a-request"),
    "detail": {"unit": match.like("tokens"), "limit": match.like("1000000")},
}
OF_AN_AGENT = {
    **RECORDED,
    "action": match.regex("chat_agent_published", regex=r"^chat_[a-z_]{1,56}$"),
    "detail": {"agent": match.like("support"), "version": match.like(3)},
}
BY_AN_OPERATOR = {
    **RECORDED,
    "action": "billing_grant_created",
    "actor": None,
    "session_id": None,
    "request_id": None,
    "detail": {"source": "operator", "feature": match.like("messages")},
}


@pytest.mark.parametrize(
    ("description", "given", "data"),
    [
        ("a member has created a budget", "a member has created a budget", RECORDED),
        ("an operator has granted a feature", "an operator has granted a feature", BY_AN_OPERATOR),
    ],
)
async def test_stores_what_billing_records(auth, description, given, data):
    with consumer_pact("auth", "billing-webhook") as pact:
        received = pact.event(description, TYPE, data, states=given)
        await assert_stored(auth, received)


async def test_stores_what_the_chat_agent_records(auth):
    what = "an admin has published an agent"
    with consumer_pact("auth", "chat-agent") as pact:
        received = pact.event(what, "chat.audit.recorded.v1", OF_AN_AGENT, states=what)
        await assert_stored(auth, received)


async def assert_stored(auth, received):
    async with auth.app.state.resources.database.begin() as db:
        await HANDLERS[received.type](db, received)
    [row] = await auth.audited(received.data["action"])
    assert (row["id"], row["tenant_id"], row["happened_at"]) == (received.id, TENANT, received.time)
    assert (row["actor"], json.loads(row["detail"])) == (received.data["actor"], received.data["detail"])
