import pytest
from notification.main import create_app
from testkit.contracts import assert_answers_as_documented, operations


@pytest.mark.parametrize("operation", operations("notification"))
def test_answers_as_its_documents_say(operation, settings, issuer):
    app = create_app(settings.model_copy(update={"run_workers": False}))
    assert_answers_as_documented(operation, app, issuer)
