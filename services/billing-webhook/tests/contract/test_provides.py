"""What other services need of billing-webhook, as they have written it down."""

from billing_webhook.main import create_app
from testkit.pact_provider import verify_provider

from .states import STATES


def test_provides_what_others_need(settings, issuer, databases):
    app = create_app(settings.model_copy(update={"run_workers": False}))
    assert verify_provider(app, issuer, states=STATES, reset=databases.empty) > 0
