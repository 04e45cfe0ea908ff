"""Nobody can send this service a body."""

from notification.main import create_app
from testkit.worst_bodies import all_routes_with_body


def test_takes_no_body(settings):
    # When this changes, take the tests of the worst bodies from another service.
    assert all_routes_with_body(create_app(settings)) == []
