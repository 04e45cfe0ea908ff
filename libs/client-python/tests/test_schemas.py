"""The types have the members that the OpenAPI documents name."""

import json

import pytest
from acme_client import schemas
from testkit.pacts import ROOT

SERVICES = {
    "chat-agent": ["Usage", "RunSummary", "Run", "RunDetail", "Approval", "RunSummaryPage"],
    "conversation": ["Message", "Conversation", "ConversationDetail", "ConversationPage"],
}


@pytest.mark.parametrize(
    ("service", "name"), [(service, name) for service, names in SERVICES.items() for name in names]
)
def test_a_type_has_the_members_of_its_schema(service, name):
    document = json.loads((ROOT / "services" / service / "contract" / "openapi.json").read_text())
    schema = document["components"]["schemas"][name]
    assert getattr(schemas, name).__annotations__.keys() == schema["properties"].keys()


def test_a_message_has_the_options_of_a_request():
    document = json.loads((ROOT / "services/chat-agent/contract/openapi.json").read_text())
    options = document["components"]["schemas"]["ChatRequest"]["properties"].keys() - {"message"}
    assert schemas.MessageOptions.__annotations__.keys() == options
