"""Every route refuses parameters that make no sense, and none fails."""

import pytest
from testkit.query_walk import find_broken_queries, find_unrefused_cursors
from testkit.token_matrix import TENANT, USER


@pytest.fixture
async def conversation_id(person, begin):
    """A conversation of a person of the tenant."""
    return await begin(person(TENANT, USER), "one")


async def test_every_route_refuses_a_forged_cursor(app, issuer, conversation_id):
    token = issuer.token(tenant_id=TENANT, subject=USER)
    assert await find_unrefused_cursors(app, token, {"conversation_id": conversation_id}) == []


async def test_no_parameter_breaks_a_route(app, issuer, conversation_id):
    token = issuer.token(tenant_id=TENANT, subject=USER)
    assert await find_broken_queries(app, token, {"conversation_id": conversation_id}) == []
