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
        async with auth.app.state.resources.database.begin() as db:
            await HANDLERS[TYPE](db, received)
    [row] = await auth.audited(received.data["action"])
    assert (row["id"], row["tenant_id"], row["happened_at"]) == (received.id, TENANT, received.time)
    assert (row["actor"], json.loads(row["detail"])) == (received.data["actor"], received.data["detail"])
