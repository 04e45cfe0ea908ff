"""Every route refuses parameters that make no sense, and none fails."""

import pytest
from testkit.query_walk import find_broken_queries, find_unrefused_cursors


@pytest.fixture
async def operated(auth, start):
    """A service, and the token of an operator, who may call every route."""
    operator = await auth.somebody()
    service = await start(auth_signup_policy="approval", auth_operator_tenant_id=operator["tenant_id"])
    return service.app, operator["access_token"]


async def test_every_route_refuses_a_forged_cursor(operated):
    assert await find_unrefused_cursors(*operated) == []


async def test_no_parameter_breaks_a_route(operated):
    assert await find_broken_queries(*operated) == []
