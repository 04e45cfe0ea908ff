"""Each service that takes URLs tests every one of them; the walk that finds them finds all."""

import pytest
from testkit.contract_documents import documents
from testkit.pacts import ROOT
from testkit.supplied_urls import url_members

DOCUMENTS = {
    f"{path.parts[-3]}/{path.name}": one
    for path, one in documents().items()
    if path.name.endswith("openapi.json")
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_service_that_takes_urls_tests_them(name):
    tests = ROOT / "services" / name.partition("/")[0] / "tests" / "test_supplied_urls.py"
    assert not url_members(DOCUMENTS[name]) or tests.exists()


def test_lists_members_by_format_and_by_name_however_deep():
    text = {"type": "string"}
    page = {"properties": {"next": {"anyOf": [{**text, "format": "uri"}, {"type": "null"}]}, "title": text}}
    body = {"properties": {"pages": {"items": {"$ref": "#/components/schemas/Page"}}, "base_url": text}}
    callback = {"name": "callback", "in": "query", "schema": {**text, "format": "uri-reference"}}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}
    answers = {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}}}}
    post = {"requestBody": {"content": content}, "parameters": [callback], "responses": answers}
    schemas = {"Page": page, "Body": body, "Answer": {"properties": {"url": text}}}
    document = {"paths": {"/a": {"post": post}}, "components": {"schemas": schemas}}
    assert url_members(document) == {("Page", "next"), ("Body", "base_url"), ("/a", "callback")}
