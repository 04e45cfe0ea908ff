"""What other services need of auth, as they have written it down."""

from auth.main import create_app
from testkit.pact_provider import verify_provider

from .states import STATES


def test_provides_what_others_need(settings, issuer, databases):
    assert verify_provider(create_app(settings), issuer, states=STATES, reset=databases.empty) > 0
