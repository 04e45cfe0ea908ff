import pytest
from billing_webhook.main import create_app
from pydantic import SecretStr
from testkit.contracts import assert_answers_as_documented, live_service, operations
from testkit.pacts import TENANT

from ..sandbox_stripe import stripe_sandbox


@pytest.fixture(scope="module")
def service(settings):
    with stripe_sandbox() as sandbox:
        stripe = {"stripe_secret_key": SecretStr("sk_test_sandbox"), "stripe_api_base": sandbox.url}
        changes = {"run_workers": False, "enable_billing": True, "enable_billing_stream": False, **stripe}
        with live_service(create_app(settings.model_copy(update=changes))) as service:
            yield service


@pytest.mark.parametrize("operation", operations("billing-webhook"))
def test_answers_as_its_documents_say(operation, service, issuer):
    assert_answers_as_documented(
        operation, service, issuer, make_resources=lambda _: {"tenant_id": str(TENANT)}
    )
