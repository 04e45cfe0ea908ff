"""URLs that tenants and users supply: each member that takes one refuses what may not be called."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from chat_agent.settings import IMAGES_AND_FILES, Settings
from fastapi import FastAPI
from testkit.supplied_urls import EVERYWHERE, PUBLIC, WHERE_CALLED, Kind, refused, url_members

from .protocols.test_attachments import ag_ui, completion, response, ui
from .tenant_server import TOOLS

Json = dict[str, Any]
Send = Callable[[httpx.Client, str], httpx.Response]
SECRET_HEADER = {"X-Key": {"secret": "shop"}}
WHERE_SHOWN = EVERYWHERE | {"plain", "ambiguous"}
# A provider fetches an image, at whichever port it is.
WHERE_FETCHED = WHERE_SHOWN | {"host"}
# No address by which anything is reached: what an answer may name.
NO_ADDRESSES = {("UrlFilterConfig", "url_allow_list")}


def put_tool(client: httpx.Client, document: Json) -> httpx.Response:
    return client.put(f"{TOOLS}/read", json={"description": "Read.", **document})


def put_server(client: httpx.Client, url: str, redirect_uri: str) -> httpx.Response:
    # Not called before a person has signed in.
    body = {"url": url, "auth": {"type": "oauth", "redirect_uri": redirect_uri}}
    return client.put("/api/v1/mcp-servers/shop", json=body)


def put_operation(client: httpx.Client, url: str) -> httpx.Response:
    paths = {"/b": {"get": {"operationId": "read", "responses": {"200": {"description": "It."}}}}}
    info = {"title": "Shop", "version": "1"}
    document = {"openapi": "3.1.0", "info": info, "servers": [{"url": url}], "paths": paths}
    return put_tool(client, {"openapi": document, "operation_id": "read"})


def post(client: httpx.Client, request: tuple[str, Json]) -> httpx.Response:
    path, body = request
    return client.post(path, json=body)


def tool_at(url: str, **members: Any) -> Json:
    return {"endpoint": {"url": url}, **members}


MEMBERS: dict[tuple[str, str], tuple[frozenset[Kind], Send]] = {
    ("Endpoint", "url"): (WHERE_CALLED - {"plain"}, lambda client, url: put_tool(client, tool_at(url))),
    ("Endpoint", "url with a secret"): (
        WHERE_CALLED,
        lambda client, url: put_tool(client, tool_at(url, headers=SECRET_HEADER)),
    ),
    ("ToolDocument", "openapi"): (WHERE_CALLED - {"plain"}, put_operation),
    ("NewProviderKey", "base_url"): (
        WHERE_CALLED,
        lambda client, url: client.put(
            "/api/v1/provider-keys/openai", json={"key": "sk-0123456789", "base_url": url}
        ),
    ),
    ("ServerConfig", "url"): (WHERE_CALLED, lambda client, url: put_server(client, url, PUBLIC)),
    ("OAuth", "redirect_uri"): (WHERE_SHOWN, lambda client, url: put_server(client, PUBLIC, url)),
    ("ImageUrl", "url"): (
        WHERE_FETCHED,
        lambda client, url: post(client, completion({"type": "image_url", "image_url": {"url": url}})),
    ),
    ("ContentPart", "image_url"): (
        WHERE_FETCHED,
        lambda client, url: post(client, response({"type": "input_image", "image_url": url})),
    ),
    ("AgUiPart", "url"): (
        WHERE_FETCHED,
        lambda client, url: post(client, ag_ui({"type": "binary", "mimeType": "image/png", "url": url})),
    ),
    ("MediaSource", "value"): (
        WHERE_FETCHED,
        lambda client, url: post(client, ag_ui({"type": "image", "source": {"type": "url", "value": url}})),
    ),
    ("UiMessagePart", "url"): (
        WHERE_FETCHED,
        lambda client, url: post(client, ui({"type": "file", "mediaType": "image/png", "url": url})),
    ),
}
# Those of which neither format nor name says that they take URLs.
HIDDEN = {("Endpoint", "url with a secret"), ("ToolDocument", "openapi"), ("MediaSource", "value")}


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    changes: Json = {
        "model_inputs": {"sandbox-large": IMAGES_AND_FILES},
        "chat_rate_limit_per_minute": 1000,
        "chat_stream_rate_limit_per_minute": 1000,
    }
    return settings.model_copy(update=changes)


@pytest.fixture
def author(admin: httpx.Client) -> httpx.Client:
    admin.put("/api/v1/secrets/shop", json={"value": "a-secret-value"}).raise_for_status()
    return admin


def test_every_member_that_takes_a_url_is_tested(app: FastAPI) -> None:
    assert url_members(app.openapi()) == MEMBERS.keys() - HIDDEN | NO_ADDRESSES


@pytest.mark.parametrize(("schema", "member"), MEMBERS)
def test_what_may_not_be_called_is_refused(author: httpx.Client, schema: str, member: str) -> None:
    kinds, send = MEMBERS[schema, member]
    for url in refused(kinds):
        assert send(author, url).status_code in {400, 422}, url
    allowed = send(author, PUBLIC)
    assert allowed.status_code == 200, allowed.text
