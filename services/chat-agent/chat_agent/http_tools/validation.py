"""What is wrong with a tool, each with its path in the document."""

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs

from chat_agent.clients.supplied_urls import url_problems
from chat_agent.documents import DefinitionProblem, schema_problem, small_json
from chat_agent.http_tools.definition import (
    ARGUMENT,
    PLACEHOLDER,
    SAFE_METHODS,
    Endpoint,
    HttpTool,
    ToolDocument,
)
from chat_agent.http_tools.errors import InvalidTool
from chat_agent.http_tools.openapi import OpenApiDocument
from chat_agent.http_tools.problems import DocumentProblem
from chat_agent.http_tools.secret_names import is_secret
from chat_agent.model.schema_validation import SchemaValidator
from chat_agent.tenant_secrets.schemas import SecretReference

MAX_ARGUMENTS = 100
# Headers that belong to the connection, or that the client sets.
RESERVED_HEADERS = {
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
Found = Iterator[tuple[str, str]]


def tool_of(document: ToolDocument, private_hosts: frozenset[str]) -> HttpTool:
    """Return the tool of a document; raises InvalidTool."""
    try:
        tool = compiled(document)
    except DocumentProblem as problem:
        raise InvalidTool([DefinitionProblem(path=problem.path, message=problem.message)]) from None
    if problems := problems_of(tool, private_hosts):
        raise InvalidTool(problems)
    return tool


def compiled(document: ToolDocument) -> HttpTool:
    """Return a tool whose endpoint is that of the document, or of its operation; raises DocumentProblem."""
    endpoint, description = document.endpoint, document.description
    if (endpoint is None) == (document.openapi is None):
        raise DocumentProblem("endpoint", "Give either `endpoint`, or `openapi` with `operation_id`.")
    if document.openapi is not None:
        if document.operation_id is None:
            raise DocumentProblem("operation_id", "Name the operation of the document.")
        source = OpenApiDocument(document.openapi)
        operation = source.operation(document.operation_id)
        endpoint = source.endpoint(operation, provided_parameters(document))
        description = description or operation.summary[:2000]
    if not description:
        raise DocumentProblem("description", "Say what the tool does: the model reads it.")
    members = {name: getattr(document, name) for name in document.model_fields_set - {"openapi"}}
    return HttpTool.model_validate({**members, "endpoint": endpoint, "description": description})


def provided_parameters(document: ToolDocument) -> set[str]:
    """Return the parameters that the author provides, as `<location>.<name>`."""
    return {f"header.{name.lower()}" for name in document.headers} | {
        f"query.{name.lower()}" for name in document.query
    }


def problems_of(tool: HttpTool, private_hosts: frozenset[str]) -> list[DefinitionProblem]:
    """List what is wrong with a tool."""
    of_schemas = [*schema_problems(tool)]
    checks = (
        address_problems(tool, private_hosts),
        of_schemas,
        argument_problems(tool.endpoint),
        value_problems(tool),
        # Each compiles the schema of one argument: together as much as the whole takes, which works.
        [] if of_schemas else fixed_argument_problems(tool),
    )
    return [DefinitionProblem(path=path, message=message) for check in checks for path, message in check]


def address_problems(tool: HttpTool, private_hosts: frozenset[str]) -> Found:
    """Yield what is visibly wrong with an address; where its name leads is checked by each call."""
    path, url = "endpoint.url", tool.endpoint.url
    for problem in url_problems(PLACEHOLDER.sub("x", url), private_hosts, encrypted=bool(tool.secrets)):
        yield path, problem
    if not url.isascii() or set(url) & set("\\ "):
        yield path, "The address must be written in ASCII, without spaces and backslashes."
    if "{" in "/".join(url.split("/")[:3]):
        yield path, "Scheme and host are fixed: placeholders stand in the path only."
    if "?" in url or "#" in url:
        yield path, "The address must not have a query or a fragment: use `query`, or arguments."


def schema_problems(tool: HttpTool) -> Found:
    """Yield schemas that do not work: of the arguments, and of the calls that need an approval."""
    schemas: dict[str, Any] = {"endpoint.parameters": tool.endpoint.parameters}
    if isinstance(tool.approval, Mapping):
        schemas["approval"] = tool.approval
    for path, schema in schemas.items():
        try:
            small_json(schema)
            SchemaValidator(schema)
        except (ValueError, TypeError, RecursionError, jsonschema_rs.ReferencingError) as error:
            place, reason = schema_problem(path, error)
            yield place, f"This is no JSON schema that works here: {reason}"
    parameters = tool.endpoint.parameters
    if parameters.get("type", "object") != "object" or not isinstance(parameters.get("properties", {}), dict):
        yield "endpoint.parameters.type", "Arguments are members of an object: the type must be `object`."


def argument_problems(endpoint: Endpoint) -> Found:
    """Yield arguments that cannot be where they are to be."""
    properties, path = endpoint.properties, "endpoint.parameters.properties"
    if len(properties) > MAX_ARGUMENTS:
        yield path, f"There must not be more than {MAX_ARGUMENTS} arguments."
        return
    yield from placeholder_problems(endpoint)
    for member in ("locations", "names"):
        for name in getattr(endpoint, member):
            if name not in properties:
                yield f"endpoint.{member}.{name}", f"There is no argument called {name!r}."
    places = [endpoint.location(name) for name in properties]
    if "whole_body" in places and places.count("whole_body") + places.count("body") > 1:
        yield (
            "endpoint.locations",
            "An argument that is the whole body leaves no room for others in it.",
        )
    for name in properties:
        yield from place_problems(endpoint, name, f"{path}.{name}")


def placeholder_problems(endpoint: Endpoint) -> Found:
    """Yield placeholders that are no required arguments."""
    required = endpoint.parameters.get("required")
    for name in endpoint.placeholders:
        if name not in endpoint.properties:
            yield "endpoint.url", f"There is no argument called {name!r}."
        elif not isinstance(required, list) or name not in required:
            yield "endpoint.parameters.required", f"The argument {name!r} of the path must be required."
    if set(PLACEHOLDER.sub("", endpoint.url)) & set("{}"):
        yield "endpoint.url", "Placeholders are names in braces, such as `{order_id}`."


def place_problems(endpoint: Endpoint, name: str, path: str) -> Found:
    """Yield what is wrong with the place of one argument."""
    location, wire_name = endpoint.location(name), endpoint.wire_name(name)
    if not ARGUMENT.fullmatch(name):
        yield path, "A name has at most 64 letters, digits, and the characters `_.-`."
    if location == "path" and name not in endpoint.placeholders:
        yield path, f"The URL has no placeholder {{{name}}}."
    if endpoint.method in SAFE_METHODS and location in {"body", "whole_body"}:
        yield path, f"A request with the method {endpoint.method} has no body."
    if location == "header" and (not is_header(wire_name) or wire_name.lower() in RESERVED_HEADERS):
        yield path, f"The header {wire_name!r} cannot be set."
    if is_secret(location, wire_name):
        yield path, f"{wire_name!r} carries a secret, which no model is told: set it in `headers` or `query`."


def is_header(name: str) -> bool:
    """Return whether a header may have a name."""
    return name.isascii() and all(one.isalnum() or one in "!#$%&'*+-.^_`|~" for one in name)


def value_problems(tool: HttpTool) -> Found:
    """Yield values of the author that cannot be sent, or are an argument's as well."""
    endpoint = tool.endpoint
    taken = {(endpoint.location(one), endpoint.wire_name(one).lower()) for one in endpoint.properties}
    for part, location in (("headers", "header"), ("query", "query")):
        for name, value in getattr(tool, part).items():
            if (location, name.lower()) in taken:
                yield f"{part}.{name}", "This is an argument as well."
            if location == "header" and name.lower() in RESERVED_HEADERS:
                yield f"{part}.{name}", f"The header {name!r} cannot be set."
            if location == "header" and isinstance(value, str) and not value.isascii():
                yield f"{part}.{name}", "The value of a header must be ASCII."
            if not isinstance(value, SecretReference) and is_secret(location, name):
                yield f"{part}.{name}", 'This carries a secret: name one, as `{"secret": "…"}`.'


def fixed_argument_problems(tool: HttpTool) -> Found:
    """Yield fixed arguments that the endpoint does not take."""
    for name, value in tool.fixed_arguments.items():
        schema = tool.endpoint.properties.get(name)
        if schema is None:
            yield f"fixed_arguments.{name}", f"There is no argument called {name!r}."
        elif not fits(schema, value):
            yield f"fixed_arguments.{name}", "The value does not match the schema of the argument."


def fits(schema: Any, value: object) -> bool:
    """Return whether a value is one of a schema; a schema that does not work is another problem."""
    try:
        return SchemaValidator(schema).is_valid(value)
    except (ValueError, TypeError, jsonschema_rs.ReferencingError):
        return True
