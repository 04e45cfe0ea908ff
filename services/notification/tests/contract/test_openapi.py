import pytest
from notification.main import create_app
from testkit.contracts import assert_answers_as_documented, live_service, operations


@pytest.fixture(scope="module")
def service(settings):
    with live_service(create_app(settings.model_copy(update={"run_workers": False}))) as service:
        yield service


@pytest.mark.parametrize("operation", operations("notification"))
def test_answers_as_its_documents_say(operation, service, issuer):
    assert_answers_as_documented(operation, service, issuer)
