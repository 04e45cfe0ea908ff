"""Every route refuses parameters that make no sense, and none fails."""

import pytest
from billing_webhook.main import create_app
from pydantic import SecretStr
from testkit.app import running
from testkit.query_walk import find_broken_queries, find_unrefused_cursors
from testkit.token_matrix import TENANT


@pytest.fixture
def settings(settings, sandbox):
    stripe = {"stripe_secret_key": SecretStr("sk_test_sandbox"), "stripe_api_base": sandbox.url}
    return settings.model_copy(update=stripe)


async def test_every_route_refuses_a_forged_cursor(settings, issuer):
    async with running(create_app(settings.model_copy(update={"run_workers": False}))) as app:
        assert await find_unrefused_cursors(app, issuer.token(tenant_id=TENANT, role="owner")) == []


async def test_no_parameter_breaks_a_route(settings, issuer):
    async with running(create_app(settings.model_copy(update={"run_workers": False}))) as app:
        assert await find_broken_queries(app, issuer.token(tenant_id=TENANT, role="owner")) == []
