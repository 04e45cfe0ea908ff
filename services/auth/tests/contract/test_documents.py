"""Auth answers as its OpenAPI documents say, whatever it is asked."""

import pytest
from auth.main import create_app
from testkit.contracts import assert_answers_as_documented, operations


@pytest.mark.parametrize("operation", operations("auth"))
def test_answers_as_its_documents_say(operation, settings, issuer):
    assert_answers_as_documented(operation, create_app(settings), issuer)
