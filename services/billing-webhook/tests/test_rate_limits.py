"""Every route for authenticated callers has a limit of rate."""

from billing_webhook.main import create_app
from testkit.app import running
from testkit.rate_walk import ONE_CALL, find_unlimited_routes


async def test_no_route_is_without_a_limit(settings, issuer):
    changes = {"billing_limits": ONE_CALL, "enable_billing": True, "run_workers": False}
    async with running(
        create_app(type(settings).model_validate({**settings.model_dump(), **changes}))
    ) as app:
        assert await find_unlimited_routes(app, issuer.token(role="owner")) == []
