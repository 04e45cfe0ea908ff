"""Every route for a tenant, brought to by members of another one: to them the tenant does not exist."""

from uuid import uuid4

import pytest
from billing_webhook.main import create_app
from pydantic import SecretStr
from servicekit.auth.dependencies import every_route
from testkit.app import client, running
from testkit.token_matrix import UNKNOWN_ID

TENANT_PATH = "/api/v1/billing/tenants/{tenant_id}/"
# Of all tenants, of the caller's own by its token, or of Stripe.
WITHOUT_TENANT = {"/api/v1/billing/plans", "/api/v1/billing/stream", "/webhooks/stripe"}
OF_EVERY_SERVICE = {"/.well-known/jwks.json", "/docs/billing-webhook", "/docs/assets/{name}"}


@pytest.fixture
async def app(settings, sandbox):
    stripe = {"stripe_secret_key": SecretStr("sk_test_sandbox"), "stripe_api_base": sandbox.url}
    changed = settings.model_copy(update={**stripe, "run_workers": False})
    async with running(create_app(changed)) as app:
        yield app


def routes_of(app):
    return [
        (method, route.path)
        for route in every_route(app.routes)
        if getattr(route, "dependant", None)
        for method in sorted(route.methods - {"HEAD"})
    ]


async def test_every_other_route_is_below_its_tenant(app):
    others = {path for _, path in routes_of(app) if not path.startswith(TENANT_PATH)}
    assert others - OF_EVERY_SERVICE == WITHOUT_TENANT


@pytest.mark.parametrize("role", ["owner", "viewer"])
@pytest.mark.parametrize("body", [{}, {"colour": "red"}, []], ids=["empty", "invalid", "no object"])
async def test_another_tenant_does_not_exist_whatever_the_request(app, issuer, role, body):
    """It comes before permission and body, so that neither tells that the tenant exists."""
    routes = [(method, path) for method, path in routes_of(app) if path.startswith(TENANT_PATH)]
    assert len(routes) >= 24
    answers = {}
    async with client(app, issuer.token(tenant_id=uuid4(), role=role)) as stranger:
        for method, path in routes:
            address = path.replace("{tenant_id}", str(uuid4()))
            for name in ("budget_id", "record_id", "invoice_id", "feature"):
                address = address.replace(f"{{{name}}}", UNKNOWN_ID)
            sent = None if method in {"GET", "DELETE"} else body
            answer = await stranger.request(method, address, json=sent)
            answers[method, path] = (answer.status_code, answer.json()["code"])
    assert {route: answer for route, answer in answers.items() if answer != (404, "tenant_not_found")} == {}
