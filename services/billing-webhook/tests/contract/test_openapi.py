import pytest
from billing_webhook.main import create_app
from testkit.contracts import assert_answers_as_documented, operations
from testkit.pacts import TENANT


@pytest.mark.parametrize("operation", operations("billing-webhook"))
def test_answers_as_its_documents_say(operation, settings, issuer):
    app = create_app(settings.model_copy(update={"run_workers": False}))
    assert_answers_as_documented(operation, app, issuer, make_resources=lambda _: {"tenant_id": str(TENANT)})
