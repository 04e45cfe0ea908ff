"""Every route refuses parameters that make no sense, and none fails."""

from notification.main import create_app
from testkit.app import running
from testkit.query_walk import find_broken_queries, find_unrefused_cursors
from testkit.token_matrix import TENANT


async def test_every_route_refuses_a_forged_cursor(settings, issuer):
    async with running(create_app(settings.model_copy(update={"run_workers": False}))) as app:
        assert await find_unrefused_cursors(app, issuer.token(tenant_id=TENANT, role="owner")) == []


async def test_no_parameter_breaks_a_route(settings, issuer):
    async with running(create_app(settings.model_copy(update={"run_workers": False}))) as app:
        assert await find_broken_queries(app, issuer.token(tenant_id=TENANT, role="owner")) == []
