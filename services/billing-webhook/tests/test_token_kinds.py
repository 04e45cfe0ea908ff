"""Every kind of token, brought to every route."""

import pytest
from billing_webhook.main import create_app
from pydantic import SecretStr
from testkit.app import running
from testkit.token_matrix import find_violations, token_kinds

PEOPLE_ONLY_ROUTES = 7
MACHINES = ("API key:", "service account's token:", "service account's token for this service alone:")


@pytest.fixture
def settings(settings, sandbox):
    stripe = {"stripe_secret_key": SecretStr("sk_test_sandbox"), "stripe_api_base": sandbox.url}
    return settings.model_copy(update=stripe)


async def test_lets_only_the_right_kind_of_token_in(settings, issuer, auth_url):
    changes = {
        "auth_internal_url": auth_url,
        "service_client_secret": "of this test",
        "enable_billing": True,
        "run_workers": False,
    }
    async with running(create_app(settings.model_validate({**settings.model_dump(), **changes}))) as app:
        refused = await find_violations(app, token_kinds(app, issuer))
    people_only = [line for line in refused if line.endswith(" 403 people_only")]
    assert [line for line in refused if line not in people_only] == []
    # Machines may not change a subscription, whatever their role.
    assert len(people_only) == PEOPLE_ONLY_ROUTES * len(MACHINES)
    assert all(line.startswith(MACHINES) for line in people_only)
