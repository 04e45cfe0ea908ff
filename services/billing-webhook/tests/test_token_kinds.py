"""Every kind of token, brought to every route."""

from billing_webhook.main import create_app
from testkit.app import running
from testkit.token_matrix import find_violations, token_kinds


async def test_lets_only_the_right_kind_of_token_in(settings, issuer, auth_url):
    changes = {
        "auth_internal_url": auth_url,
        "service_client_secret": "of this test",
        "enable_billing": True,
        "run_workers": False,
    }
    async with running(create_app(settings.model_validate({**settings.model_dump(), **changes}))) as app:
        assert await find_violations(app, token_kinds(app, issuer)) == []
