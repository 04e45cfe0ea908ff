"""Pages to which Stripe sends people back."""

import pytest
from pydantic import SecretStr
from testkit.supplied_urls import EVERYWHERE, PUBLIC, refused, url_members

from .sandbox_stripe import KEY

CHECKOUT = {"plan_code": "starter", "success_url": PUBLIC, "cancel_url": PUBLIC}
ROUTES = {
    ("CheckoutRequest", "success_url"): ("checkout-sessions", CHECKOUT),
    ("CheckoutRequest", "cancel_url"): ("checkout-sessions", CHECKOUT),
    ("PortalRequest", "return_url"): ("portal-sessions", {"return_url": PUBLIC}),
}


@pytest.fixture
def settings(settings, sandbox):
    changes = {"stripe_secret_key": SecretStr(KEY), "stripe_api_base": sandbox.url}
    return settings.model_copy(update=changes)


async def test_every_member_that_takes_a_url_is_tested(app):
    assert url_members(app.openapi()) | url_members(app.state.internal.openapi()) == ROUTES.keys()


@pytest.mark.parametrize(("schema", "member"), ROUTES)
async def test_a_page_is_one_of_the_web_without_credentials(owner, schema, member):
    path, body = ROUTES[schema, member]
    for url in refused(EVERYWHERE):
        response = await owner.post(path, json={**body, member: url})
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request"), url
        assert response.json()["errors"][0]["loc"][-1] == member
    assert (await owner.post(path, json=body)).json().get("code") != "invalid_request"
