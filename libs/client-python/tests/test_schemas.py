"""The types have the members that the OpenAPI documents name."""

import json
import re
from typing import get_args, get_type_hints

import pytest
from acme_client import events, schemas
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


def test_events_have_the_members_of_their_schemas():
    document = json.loads((ROOT / "services/chat-agent/contract/openapi.json").read_text())
    components = document["components"]["schemas"]
    expected: dict[str, set[str]] = {}
    for type_, place in components["RunEvent"]["discriminator"]["mapping"].items():
        expected[type_] = set(components[place.rpartition("/")[2]]["properties"])
    typed = {
        type_: get_type_hints(one).keys()
        for one in get_args(events.RunEvent)
        for type_ in get_args(get_type_hints(one)["type"])
    }
    # Those that end a run are one type here.
    ends = {"run.completed", "run.failed", "run.cancelled"}
    assert {type_: keys for type_, keys in typed.items() if type_ not in ends} == {
        type_: keys for type_, keys in expected.items() if type_ not in ends
    }
    assert set().union(*(expected[type_] for type_ in ends)) == typed["run.failed"]
    assert typed.keys() == expected.keys()


def test_the_reference_lists_every_event():
    table = (ROOT / "docs/reference/chat-agent.md").read_text().split("| event | adds | when |")[1]
    listed = {
        name
        for line in table.split("\n\n")[0].splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([a-z._]+)`", line.split("|")[1])
    }
    assert listed == {
        type_ for one in get_args(events.RunEvent) for type_ in get_args(get_type_hints(one)["type"])
    }
