"""HTTP tools made of an operation of an OpenAPI document: what becomes of it, and what is refused by name."""

import copy
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .client_helpers import error_of
from .odd_values import ODD, walk
from .tenant_server import TOOLS, save_tool, tool_problems

Json = dict[str, Any]
SERVER = "https://orders.example.com/v2"


def document(operation: Json, path: str = "/orders/{id}", **members: Any) -> Json:
    """Return a document with one operation."""
    paths = {path: {"post": {"operationId": "change", "summary": "Change an order.", **operation}}}
    return {"openapi": "3.0.3", "servers": [{"url": SERVER}], "paths": paths, **members}


def tool(openapi: Json, **members: Any) -> Json:
    return {"openapi": openapi, "operation_id": "change", **members}


def body(schema: Json, **members: Any) -> Json:
    return {"content": {"application/json": {"schema": schema}}, "required": True, **members}


ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


def test_an_operation_becomes_one_schema(admin: httpx.Client) -> None:
    operation = {
        "parameters": [
            {"$ref": "#/components/parameters/Id"},
            {"name": "notify", "in": "query", "schema": {"type": "boolean"}, "description": "Send a mail."},
            {"name": "X-Reason", "in": "header", "required": True, "schema": {"type": "string"}},
            {
                "name": "filter[state]",
                "in": "query",
                "schema": {"type": "array", "items": {"type": "string"}},
            },
            {"name": "session", "in": "cookie", "schema": {"type": "string"}},
        ],
        "requestBody": {"$ref": "#/components/requestBodies/Change"},
    }
    change = {
        "type": "object",
        "required": ["amount", "created_at", "state"],
        "properties": {
            "amount": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "example": 3},
            "state": {"$ref": "#/components/schemas/State"},
            "created_at": {"type": "string", "readOnly": True},
            "note": {"type": "string", "nullable": True},
            "pin": {"type": "string", "format": "password"},
        },
    }
    components = {
        "parameters": {"Id": ID},
        "requestBodies": {"Change": body({"$ref": "#/components/schemas/Change"})},
        "schemas": {"Change": change, "State": {"type": "string", "enum": ["paid", "sent"]}},
    }
    saved = save_tool(admin, "change_order", tool(document(operation, components=components)))
    assert saved["definition"]["description"] == "Change an order."
    endpoint = saved["definition"]["endpoint"]
    assert (endpoint["method"], endpoint["url"]) == ("POST", f"{SERVER}/orders/{{id}}")
    assert endpoint["locations"] == {
        "id": "path",
        "notify": "query",
        "X-Reason": "header",
        "filter_state": "query",
        "amount": "body",
        "state": "body",
        "note": "body",
    }
    assert endpoint["names"] == {"filter_state": "filter[state]"}
    schema = saved["model_schema"]
    assert schema["required"] == ["id", "X-Reason", "amount", "state"]
    assert schema["properties"] == {
        "id": {"type": "string"},
        "notify": {"type": "boolean", "description": "Send a mail."},
        "X-Reason": {"type": "string"},
        "filter_state": {"type": "array", "items": {"type": "string"}},
        "amount": {"type": "number", "exclusiveMinimum": 0},
        "state": {"type": "string", "enum": ["paid", "sent"]},
        "note": {"type": ["string", "null"]},
    }


def test_names_that_clash_have_their_place_in_front(admin: httpx.Client) -> None:
    operation = {
        "parameters": [ID, {"name": "id", "in": "query", "schema": {"type": "integer"}}],
        "requestBody": body({"type": "object", "properties": {"id": {"type": "boolean"}}}),
    }
    endpoint = save_tool(admin, "change_order", tool(document(operation)))["definition"]["endpoint"]
    assert endpoint["url"] == f"{SERVER}/orders/{{path_id}}"
    assert endpoint["names"] == {"path_id": "id", "query_id": "id", "body_id": "id"}


def test_a_body_that_is_no_object_is_one_argument(admin: httpx.Client) -> None:
    schema = {"type": "array", "items": {"type": "string"}}
    operation = {"requestBody": body(schema)}
    endpoint = save_tool(admin, "change_order", tool(document(operation, "/orders")))["definition"][
        "endpoint"
    ]
    assert endpoint["locations"] == {"body": "whole_body"}
    assert endpoint["parameters"]["properties"] == {"body": schema}


def test_parts_of_an_object_are_joined(admin: httpx.Client) -> None:
    parts = [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"type": "object", "properties": {"b": {"type": "string"}}},
    ]
    operation = {"requestBody": body({"allOf": parts})}
    schema = save_tool(admin, "change_order", tool(document(operation, "/orders")))["model_schema"]
    assert (schema["required"], [*schema["properties"]]) == (["a"], ["a", "b"])


def test_the_nearest_server_is_called_with_the_defaults_of_its_variables(admin: httpx.Client) -> None:
    server = {
        "url": "https://{region}.example.com/{v}/",
        "variables": {"region": {"default": "eu"}, "v": {"default": "v3"}},
    }
    operation = {"servers": [server, {"url": "https://other.example.com"}]}
    endpoint = save_tool(admin, "change_order", tool(document(operation, "/orders")))["definition"][
        "endpoint"
    ]
    assert endpoint["url"] == "https://eu.example.com/v3/orders"


def test_parameters_with_secrets_are_never_the_models(admin: httpx.Client) -> None:
    operation = {
        "parameters": [
            {"name": "X-Shop-Sign", "in": "header", "required": True, "schema": {"type": "string"}},
            {"name": "api_key", "in": "query", "required": True, "schema": {"type": "string"}},
            {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
        ]
    }
    schemes = {"sign": {"type": "apiKey", "in": "header", "name": "X-Shop-Sign"}}
    openapi = document(operation, "/orders", components={"securitySchemes": schemes})
    (problem,) = tool_problems(admin, tool(openapi)).values()
    assert problem == "The parameter 'api_key' carries a secret: set it in `headers` or `query`."
    secrets = {
        "headers": {
            "X-Shop-Sign": {"secret": "sign"},
            "Authorization": {"secret": "key", "prefix": "Bearer "},
        },
        "query": {"api_key": {"secret": "key"}},
    }
    for name in ("sign", "key"):
        admin.put(f"/api/v1/secrets/{name}", json={"value": "a-value"}).raise_for_status()
    saved = save_tool(admin, "change_order", tool(openapi, **secrets))
    assert saved["model_schema"]["properties"] == {}
    assert saved["definition"]["headers"] == secrets["headers"]


NODE = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}}
REFERRING = {"requestBody": body({"$ref": "#/components/schemas/Node"})}
DEEP: Json = {"type": "string"}
for _ in range(45):
    DEEP = {"type": "array", "items": DEEP}
WIDE = {f"S{n}": {"anyOf": [{"$ref": f"#/components/schemas/S{n + 1}"}] * 8} for n in range(8)} | {"S8": {}}


@pytest.mark.parametrize(
    ("openapi", "path", "message"),
    [
        (
            document(REFERRING, "/orders", components={"schemas": {"Node": NODE}}),
            "openapi.paths./orders.post.requestBody",
            "The reference '#/components/schemas/Node' leads back to itself.",
        ),
        (
            document({"requestBody": {"$ref": "#/a"}}, "/orders", a={"$ref": "#/b"}, b={"$ref": "#/a"}),
            "openapi.paths./orders.post.requestBody",
            "The reference '#/a' leads back to itself.",
        ),
        (
            document({"requestBody": body({"$ref": "https://evil.example/s.json#/A"})}, "/orders"),
            "openapi.paths./orders.post.requestBody",
            "The reference 'https://evil.example/s.json#/A' leads out of the document.",
        ),
        (
            document({"parameters": [{"$ref": "file:///etc/passwd"}]}, "/orders"),
            "openapi.paths./orders.post.parameters[0]",
            "The reference 'file:///etc/passwd' leads out of the document.",
        ),
        (
            document({"requestBody": body({"$ref": "other.json"})}, "/orders"),
            "openapi.paths./orders.post.requestBody",
            "The reference 'other.json' leads out of the document.",
        ),
        (
            document({"requestBody": body({"$ref": "#/components/schemas/None"})}, "/orders"),
            "openapi.paths./orders.post.requestBody",
            "The reference '#/components/schemas/None' leads nowhere.",
        ),
        (
            document({"requestBody": body(DEEP)}, "/orders"),
            "openapi.paths./orders.post.requestBody",
            "The operation is too large when its references are resolved.",
        ),
        (
            document(
                {"requestBody": body({"$ref": "#/components/schemas/S0"})},
                "/orders",
                components={"schemas": WIDE},
            ),
            "openapi.paths./orders.post.requestBody",
            "The operation is too large when its references are resolved.",
        ),
        ({**document({}), "openapi": "2.0"}, "openapi.openapi", "The version of OpenAPI must be 3.0 or 3.1."),
        ({**document({}), "servers": []}, "openapi.servers", "The document must name its server."),
        (
            {**document({}), "servers": [{"url": "/v2"}]},
            "openapi.servers[0].url",
            "The address of the server must be absolute.",
        ),
        (
            {**document({}, "/orders"), "servers": [{"url": "http://10.0.0.1"}]},
            "endpoint.url",
            "The host is not public. The operator can allow it (`TOOL_PRIVATE_HOSTS`).",
        ),
        (
            document({"operationId": "other"}),
            "operation_id",
            "There is no operation with the id 'change'. There are: other.",
        ),
        (
            document({"requestBody": {"content": {"multipart/form-data": {}}}}, "/orders"),
            "openapi.paths./orders.post.requestBody",
            "Only bodies of JSON are supported.",
        ),
        (
            document(
                {
                    "parameters": [
                        {"name": "f", "in": "query", "style": "deepObject", "schema": {"type": "object"}}
                    ]
                },
                "/orders",
            ),
            "openapi.paths./orders.post.parameters[0]",
            "The style of the parameter 'f' is not supported.",
        ),
        (
            document({"parameters": [{"name": "f", "in": "query", "content": {}}]}, "/orders"),
            "openapi.paths./orders.post.parameters[0]",
            "The parameter 'f' is of a kind that is not supported.",
        ),
        (document({"parameters": []}), "endpoint.url", "There is no argument called 'id'."),
    ],
)
def test_what_is_wrong_with_a_document_is_named(
    admin: httpx.Client, openapi: Json, path: str, message: str
) -> None:
    assert tool_problems(admin, tool(openapi)) == {path: message}


def test_a_loop_elsewhere_in_the_document_is_no_problem(admin: httpx.Client) -> None:
    responses = {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Node"}}}}}
    openapi = document({"responses": responses}, "/orders", components={"schemas": {"Node": NODE}})
    assert save_tool(admin, "change_order", tool(openapi))["version"] == 1


def test_a_document_of_ten_megabytes_is_refused(admin: httpx.Client) -> None:
    openapi = document({}, "/orders", info={"description": "x" * 10_000_000})
    response = admin.put(f"{TOOLS}/change_order", content=json.dumps(tool(openapi)))
    assert error_of(response) == (413, "payload_too_large")


def test_names_that_are_cut_to_the_same_are_numbered(admin: httpx.Client) -> None:
    names = [f"{'n' * 70}{number}" for number in range(12)]
    operation = {"parameters": [{"name": name, "in": "query", "schema": {}} for name in names]}
    endpoint = save_tool(admin, "change_order", tool(document(operation, "/orders")))["definition"][
        "endpoint"
    ]
    assert [*endpoint["names"].values()] == names
    assert all(len(name) <= 64 for name in endpoint["names"])


def test_placeholders_are_renamed_once(admin: httpx.Client) -> None:
    names = ["a b", "a_b", "path_a_b"]
    operation = {"parameters": [{**ID, "name": name} for name in names]}
    openapi = document(operation, "/{a b}/{a_b}/{path_a_b}")
    endpoint = save_tool(admin, "change_order", tool(openapi))["definition"]["endpoint"]
    placeholders = endpoint["url"].removeprefix(f"{SERVER}/").replace("{", "").replace("}", "").split("/")
    assert [endpoint["names"].get(name, name) for name in placeholders] == names


def test_variables_of_a_server_cannot_multiply(admin: httpx.Client) -> None:
    # Each in the default of the one before: replaced in each other they are 10^30 characters.
    variables = {f"v{number}": {"default": f"{{v{number + 1}}}" * 10} for number in range(30)}
    server = {"url": "https://a.example.com/{v0}", "variables": variables}
    problems = tool_problems(admin, tool({**document({}, "/orders"), "servers": [server]}))
    assert problems == {"endpoint.url": "There is no argument called 'v1'."}


@pytest.mark.parametrize("where", ["paths", "parameters"])
def test_a_chain_of_references_is_short(admin: httpx.Client, where: str) -> None:
    chain = {f"r{number}": {"$ref": f"#/x/r{number + 1}"} for number in range(100)} | {"r100": {}}
    openapi = document({"parameters": [{"$ref": "#/x/r0"}]}, "/orders", x=chain)
    if where == "paths":
        openapi["paths"] = {"/other": {"$ref": "#/x/r0"}, **openapi["paths"]}
    (problem,) = tool_problems(admin, tool(openapi)).values()
    assert problem == "More than 20 references lead to one another."


FULL = {
    "openapi": "3.0.3",
    "servers": [{"url": "https://{r}.example.com/v2", "variables": {"r": {"default": "eu"}}}],
    "paths": {
        "/orders/{id}": {
            "parameters": [{"$ref": "#/components/parameters/Reason"}],
            "post": {
                "operationId": "change",
                "summary": "Change an order.",
                "description": "All of it.",
                "parameters": [
                    {**ID, "schema": {"type": "string", "nullable": True, "enum": ["a"]}},
                    {
                        "name": "l",
                        "in": "query",
                        "style": "form",
                        "explode": True,
                        "schema": {"type": "array", "items": {"type": "string"}},
                    },
                ],
                "requestBody": body(
                    {
                        "required": ["a"],
                        "properties": {
                            "a": {"type": "number", "minimum": 1, "exclusiveMinimum": True},
                            "b": {"readOnly": True},
                            "c": {"$ref": "#/components/schemas/C"},
                        },
                        "allOf": [{"properties": {"z": {"type": "string"}}, "required": ["z"]}],
                    }
                ),
            },
        }
    },
    "components": {
        "parameters": {"Reason": {"name": "X-Reason", "in": "header", "schema": {"type": "string"}}},
        "schemas": {"C": {"anyOf": [{"type": "string"}], "patternProperties": {"a": {}}}},
        "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}},
    },
}


def places_in(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where something stands in a document."""
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    below = [one for step, member in members for one in places_in(member, (*place, step))]
    return [place, *below] if place else below


@walk(300)
@given(place=st.sampled_from(places_in(FULL)), value=ODD | st.sampled_from([[[1]], {"$ref": 1}, {"type": 7}]))
def test_nonsense_is_refused_or_ignored_wherever_it_stands(
    admin: httpx.Client, place: tuple[Any, ...], value: Any
) -> None:
    openapi = copy.deepcopy(FULL)
    *steps, last = place
    holder: Any = openapi
    for step in steps:
        holder = holder[step]
    holder[last] = value
    response = admin.put(f"{TOOLS}/change_order", content=json.dumps(tool(openapi)))
    assert response.status_code in {200, 400, 422}, response.text
