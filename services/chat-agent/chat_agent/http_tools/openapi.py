"""Makes an endpoint of one operation of an OpenAPI document (3.0 or 3.1)."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from chat_agent.http_tools.definition import ARGUMENT, PLACEHOLDER, Endpoint
from chat_agent.http_tools.openapi_schemas import merged, request_schema, required_in
from chat_agent.http_tools.openapi_servers import server_url
from chat_agent.http_tools.problems import DocumentProblem
from chat_agent.http_tools.references import Resolver
from chat_agent.http_tools.secret_names import is_secret

MAX_BYTES = 1_000_000
METHODS = ("get", "head", "post", "put", "patch", "delete")
VERSION = re.compile(r"^3\.[01](\.\d{1,3})?$")
JSON_MEDIA_TYPE = re.compile(r"^application/([\w.-]+\+)?json\b")
# How a list is written in the parts of a request; no other way is supported.
STYLES = {"path": "simple", "query": "form", "header": "simple"}
# A schema with these says more than which members there are.
COMBINED = {"allOf", "anyOf", "oneOf", "not", "if"}
MAX_NAMES = 20


@dataclass(frozen=True)
class Argument:
    """An argument of an operation, before it has a name that no other has."""

    wire_name: str
    location: str
    schema: dict[str, Any]
    is_required: bool


@dataclass(frozen=True)
class Operation:
    """An operation of a document, with where it stands."""

    path: str
    method: str
    url_path: str
    item: Mapping[str, Any]
    value: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """What it does, in the words of the document."""
        texts = (self.value.get("summary"), self.value.get("description"))
        return "\n\n".join(text for text in texts if isinstance(text, str))


class OpenApiDocument:
    """Reads a document; raises DocumentProblem with the place of what is wrong."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._resolver = Resolver(document)
        if size_of(document) > MAX_BYTES:
            raise DocumentProblem("openapi", f"The document has more than {MAX_BYTES} bytes.")
        if not VERSION.fullmatch(str(document.get("openapi"))):
            raise DocumentProblem("openapi.openapi", "The version of OpenAPI must be 3.0 or 3.1.")

    def operation(self, operation_id: str) -> Operation:
        """Find an operation by its id."""
        operations = [*self._operations()]
        found = [one for one in operations if one.value.get("operationId") == operation_id]
        if len(found) == 1:
            return found[0]
        if found:
            raise DocumentProblem("operation_id", f"Several operations have the id {operation_id!r}.")
        ids = [str(one.value["operationId"])[:64] for one in operations if "operationId" in one.value]
        known = ", ".join(ids[:MAX_NAMES]) or "none"
        raise DocumentProblem(
            "operation_id", f"There is no operation with the id {operation_id!r}. There are: {known}."
        )

    def endpoint(self, operation: Operation, provided: set[str]) -> Endpoint:
        """Return the endpoint of an operation, without the parameters that the author provides."""
        arguments = [*self._parameters(operation, provided), *self._body(operation)]
        names = argument_names(arguments)
        schemas = {name: one.schema for name, one in names.items()}
        required = [name for name, one in names.items() if one.is_required]
        try:
            return Endpoint.model_validate(
                {
                    "method": operation.method.upper(),
                    "url": self._server(operation) + url_with(operation.url_path, names),
                    "parameters": {"type": "object", "properties": schemas, "required": required},
                    "locations": {name: one.location for name, one in names.items()},
                    "names": {n: one.wire_name for n, one in names.items() if n != one.wire_name},
                }
            )
        except ValidationError as error:
            raise DocumentProblem(operation.path, str(error.errors()[0]["msg"])) from None

    def _operations(self) -> Iterator[Operation]:
        paths = self._document.get("paths")
        for url_path, value in paths.items() if isinstance(paths, dict) else ():
            path = f"openapi.paths.{url_path}"
            item = self._resolver.follow(value, path)
            for method in METHODS if isinstance(item, dict) else ():
                if isinstance(operation := item.get(method), dict):
                    yield Operation(f"{path}.{method}", method, url_path, item, operation)

    def _server(self, operation: Operation) -> str:
        """Return the address of the first server of an operation."""
        holders = {
            f"{operation.path}.servers[0]": operation.value,
            f"{operation.path.rpartition('.')[0]}.servers[0]": operation.item,
            "openapi.servers[0]": self._document,
        }
        for path, holder in holders.items():
            if isinstance(servers := holder.get("servers"), list) and servers:
                return server_url(servers[0], path)
        raise DocumentProblem("openapi.servers", "The document must name its server.")

    def _parameters(self, operation: Operation, provided: set[str]) -> Iterator[Argument]:
        """Yield the parameters that are the model's: not those of the author, and none with a secret."""
        secret_names = self._security_names()
        for (name, location), (path, one) in self._declared(operation).items():
            is_key = (location, name) in secret_names
            if f"{location}.{name.lower()}" in provided or is_key:
                continue
            if location != "cookie" and not is_secret(location, name):
                yield self._parameter(name, location, path, one)
            elif one.get("required") is True:
                message = f"The parameter {name!r} carries a secret: set it in `headers` or `query`."
                raise DocumentProblem(path, message)

    def _declared(self, operation: Operation) -> dict[tuple[str, str], tuple[str, dict[str, Any]]]:
        """Return the parameters by name and location; those of the operation replace those of its path."""
        found: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
        holders = {operation.path.rpartition(".")[0]: operation.item, operation.path: operation.value}
        for base, holder in holders.items():
            parameters = holder.get("parameters")
            for index, value in enumerate(parameters if isinstance(parameters, list) else []):
                path = f"{base}.parameters[{index}]"
                one = self._resolver.follow(value, path)
                if not isinstance(one, dict) or not isinstance(one.get("name"), str):
                    raise DocumentProblem(path, "A parameter must have a name.")
                found[one["name"], str(one.get("in"))] = path, one
        return found

    def _parameter(self, name: str, location: str, path: str, value: Mapping[str, Any]) -> Argument:
        if location not in STYLES or "schema" not in value:
            raise DocumentProblem(path, f"The parameter {name!r} is of a kind that is not supported.")
        schema = request_schema(self._resolver.resolve(value["schema"], path))
        is_exploded = value.get("explode", location == "query")
        kinds = schema.get("type") if isinstance(schema, dict) else None
        is_list = "array" in (kinds if isinstance(kinds, list) else [kinds])
        is_odd = value.get("style", STYLES[location]) != STYLES[location]
        if is_odd or (is_list and is_exploded != (location == "query")):
            raise DocumentProblem(path, f"The style of the parameter {name!r} is not supported.")
        return Argument(
            name, location, described(schema, value.get("description")), value.get("required") is True
        )

    def _security_names(self) -> set[tuple[str, str]]:
        """Return the parameters in which the document says that keys stand."""
        components = self._document.get("components")
        schemes = components.get("securitySchemes") if isinstance(components, dict) else None
        path = "openapi.components.securitySchemes"
        values = [
            self._resolver.follow(one, path)
            for one in (schemes if isinstance(schemes, dict) else {}).values()
        ]
        return {
            (str(one.get("in")), str(one.get("name")))
            for one in values
            if isinstance(one, dict) and one.get("type") == "apiKey"
        }

    def _body(self, operation: Operation) -> Iterator[Argument]:
        path = f"{operation.path}.requestBody"
        body = self._resolver.follow(operation.value.get("requestBody"), path)
        if not isinstance(body, dict):
            return
        content = body.get("content")
        contents = content if isinstance(content, dict) else {}
        media = next((one for name, one in contents.items() if JSON_MEDIA_TYPE.match(name)), None)
        is_required = body.get("required") is True
        if not isinstance(media, dict):
            raise DocumentProblem(path, "Only bodies of JSON are supported.")
        schema = request_schema(self._resolver.resolve(media.get("schema", {}), path))
        schema = merged(schema) if isinstance(schema, dict) else {}
        properties = members_of(schema)
        if properties is None:
            yield Argument("body", "whole_body", described(schema, body.get("description")), is_required)
            return
        needed = required_in(schema) if is_required else []
        for name, one in properties.items():
            if not is_secret("body", name):
                yield Argument(name, "body", described(one, None), name in needed)
            elif name in needed:
                raise DocumentProblem(path, f"The member {name!r} carries a secret: set it in a header.")


def members_of(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return the members of a body; none where it is no object of known members."""
    properties = schema.get("properties")
    is_object = schema.get("type", "object") == "object" and not COMBINED & schema.keys()
    return properties if is_object and isinstance(properties, dict) else None


def argument_names(arguments: list[Argument]) -> dict[str, Argument]:
    """Return arguments by names that a model may use; names that clash have their place in front."""
    counts = Counter(plain_name(one.wire_name) for one in arguments)
    names: dict[str, Argument] = {}
    for one in arguments:
        plain = plain_name(one.wire_name)
        name = plain if counts[plain] == 1 else f"{one.location}_{plain}"[:64]
        names[free_name(name, names)] = one
    return names


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a name that is not taken: itself, or with a number."""
    numbered = (f"{name[:58]}_{number}" for number in range(2, len(taken) + 3))
    return next(one for one in (name, *numbered) if one not in taken)


def plain_name(name: str) -> str:
    """Return a name as models may use it."""
    return name if ARGUMENT.fullmatch(name) else re.sub(r"[^a-zA-Z0-9_.-]+", "_", name).strip("_")[:64] or "_"


def url_with(url_path: str, names: Mapping[str, Argument]) -> str:
    """Return a path whose placeholders are the names of arguments."""
    by_wire_name = {one.wire_name: name for name, one in names.items() if one.location == "path"}
    return PLACEHOLDER.sub(lambda match: f"{{{by_wire_name.get(match[1], match[1])}}}", url_path)


def described(schema: Any, description: Any) -> dict[str, Any]:
    """Return a schema with the description of what it is the schema of."""
    result = schema if isinstance(schema, dict) else {}
    return {**result, "description": description} if isinstance(description, str) else result


def size_of(document: Mapping[str, Any]) -> int:
    """Return the size of a document in bytes; raises DocumentProblem where it cannot be stored."""
    try:
        return len(orjson.dumps(document))
    except TypeError as error:
        raise DocumentProblem("openapi", f"The document cannot be read: {error}.") from None
