import pytest
from billing_webhook.main import create_app
from pydantic import SecretStr
from testkit.contracts import assert_answers_as_documented, operations
from testkit.pacts import TENANT


@pytest.mark.parametrize("operation", operations("billing-webhook"))
def test_answers_as_its_documents_say(operation, settings, issuer, sandbox):
    stripe = {"stripe_secret_key": SecretStr("sk_test_sandbox"), "stripe_api_base": sandbox.url}
    changes = {"run_workers": False, "enable_billing": True, "enable_billing_stream": False, **stripe}
    app = create_app(settings.model_copy(update=changes))
    assert_answers_as_documented(operation, app, issuer, make_resources=lambda _: {"tenant_id": str(TENANT)})
