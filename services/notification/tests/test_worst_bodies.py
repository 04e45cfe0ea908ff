"""Nobody can send this service a body."""

from notification.main import create_app
from testkit.worst_bodies import everywhere


def test_takes_no_body(settings):
    # When this changes, take the tests of the worst bodies from another service.
    assert everywhere(create_app(settings)) == []
