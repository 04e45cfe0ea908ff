"""What every service says of itself, out of its code: OpenAPI, JSON Schemas of its events, AsyncAPI."""

import importlib
import importlib.util
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import SecretStr
from pydantic.json_schema import models_json_schema
from servicekit.events.outbox import Event
from servicekit.settings import ServiceSettings

from testkit.pacts import ROOT

Json = dict[str, Any]

SCHEMA = "https://json-schema.org/draft/2020-12/schema"
INTERNAL = "/internal/v1/"
# Fits whatever a secret is for, a sealing key included; nothing that is written down holds it.
SECRET = SecretStr("A" * 43 + "=")
VALUES = {
    "environment": "test",
    "debug": True,
    "logging_sink": "none",
    "run_workers": False,
    "database_url": SecretStr("postgresql://nobody@127.0.0.1:1/none"),
    "redis_url": SecretStr("redis://127.0.0.1:1/0"),
}
# CloudEvents attributes, as the stream's entries have them beside `data`.
ATTRIBUTES: Json = {
    "type": "object",
    "required": ["specversion", "id", "source", "type", "subject", "time"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "format": "uuid"},
        "source": {"type": "string", "examples": ["acme/auth"]},
        "type": {"type": "string"},
        "subject": {"type": "string"},
        "time": {"type": "string", "format": "date-time"},
        "tenantid": {"type": "string", "format": "uuid"},
        "traceparent": {"type": "string"},
    },
}


def services(root: Path = ROOT) -> list[str]:
    """List the services of the workspace."""
    return sorted(path.parent.name for path in root.glob("services/*/pyproject.toml"))


def module(service: str, name: str) -> Any:
    """Import a module of a service; None when it has none of this name."""
    full = f"{service.replace('-', '_')}.{name}"
    return importlib.import_module(full) if importlib.util.find_spec(full) else None


def settings_for(service: str) -> ServiceSettings:
    """Make settings with which a service can be put together, not run; the environment is not read."""
    kind: type[ServiceSettings] = module(service, "settings").Settings
    values: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, SecretStr):
            values[name] = field.annotation(SECRET.get_secret_value())
        elif field.is_required():
            values[name] = Path("nowhere") if field.annotation is Path else "http://127.0.0.1:1"
    return kind.model_construct(**values | VALUES)


def app_of(service: str) -> FastAPI:
    """Put a service together, to be read and not to be run."""
    app: FastAPI = module(service, "main").create_app(settings_for(service))
    return app


def openapi(app: FastAPI, version: str) -> Json:
    """Return the document of a public or an internal app."""
    document = app.openapi()
    return {**document, "info": {**document["info"], "version": version}}


def internal_openapi(app: FastAPI, version: str) -> Json:
    """Return the document of what a service answers to other services; its health is no part of it."""
    document = openapi(app.state.internal, version)
    paths = {path: item for path, item in document["paths"].items() if path.startswith(INTERNAL)}
    return {**document, "paths": paths}


def events_of(service: str) -> list[type[Event]]:
    """List the events that a service publishes, by their type."""
    values = vars(module(service, "events") or object).values()
    published = {
        one for one in values if isinstance(one, type) and issubclass(one, Event) and "type" in vars(one)
    }
    return sorted((one for one in published if hasattr(one, "type")), key=lambda event: event.type)


def consumed_by(service: str) -> set[str]:
    """Return the types of the events that a service reacts to: the keys of its worker's HANDLERS."""
    return set(getattr(module(service, "worker"), "HANDLERS", {}))


def has_stream(event: type[Event]) -> bool:
    """Return whether clients read an event from its publisher, so that no service need consume it."""
    return getattr(event, "has_stream", False)


def event_schema(event: type[Event]) -> Json:
    """Return the JSON Schema of an event's data."""
    return {
        "$schema": SCHEMA,
        "$id": f"urn:acme:{event.type}",
        **event.model_json_schema(mode="serialization"),
    }


def version_of(service: str, root: Path = ROOT) -> str:
    """Return the version of a service."""
    project = tomllib.loads((root / "services" / service / "pyproject.toml").read_text())
    version: str = project["project"]["version"]
    return version


def documents(root: Path = ROOT) -> dict[Path, Json]:
    """Make all documents, by the path of their file."""
    documents_by_path: dict[Path, Json] = {}
    for service in services(root):
        app, version = app_of(service), version_of(service, root)
        folder = root / "services" / service / "contract"
        documents_by_path[folder / "openapi.json"] = openapi(app, version)
        internal = internal_openapi(app, version)
        if internal["paths"]:
            documents_by_path[folder / "internal.openapi.json"] = internal
        documents_by_path |= {
            folder / "events" / f"{event.type}.json": event_schema(event) for event in events_of(service)
        }
    documents_by_path[root / "docs" / "asyncapi.json"] = asyncapi(services(root))
    return documents_by_path


def asyncapi(names: list[str]) -> Json:
    """Make the one document of all events (AsyncAPI 3.0): who publishes them, who consumes them."""
    published = {service: events for service in names if (events := events_of(service))}
    every = [event for events in published.values() for event in events]
    references, schemas = models_json_schema(
        [(event, "serialization") for event in every], ref_template="#/components/schemas/{model}"
    )
    messages = {event.type: message(event, references[event, "serialization"]) for event in every}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Acme events",
            "version": "1.0.0",
            "description": "Redis streams, one for each publisher; at least once, in no promised order.",
        },
        "defaultContentType": "application/json",
        "channels": {service: channel(service, events) for service, events in published.items()},
        "operations": dict(operations(names, published)),
        "components": {"messages": messages, "schemas": schemas.get("$defs", {})},
    }


def message(event: type[Event], payload: Json) -> Json:
    """Describe an event for AsyncAPI."""
    return {
        "name": event.type,
        "summary": (event.__doc__ or "").strip().splitlines()[0],
        "contentType": "application/json",
        "headers": ATTRIBUTES,
        "payload": payload,
    }


def channel(service: str, events: list[type[Event]]) -> Json:
    """Describe the stream of a publisher."""
    return {
        "address": f"events:{service}",
        "description": f"The Redis stream that {service} writes.",
        "messages": {event.type: {"$ref": f"#/components/messages/{event.type}"} for event in events},
    }


def operations(names: list[str], published: dict[str, list[type[Event]]]) -> Iterator[tuple[str, Json]]:
    """Describe which service publishes and which consumes what."""
    for publisher, events in published.items():
        types = [event.type for event in events]
        yield f"{publisher}.publishes", operation("send", publisher, types)
        for reader in names:
            if consumed := [type_ for type_ in types if type_ in consumed_by(reader)]:
                yield f"{reader}.consumes.{publisher}", operation("receive", publisher, consumed)


def operation(action: str, publisher: str, types: list[str]) -> Json:
    """Describe one of them."""
    where = f"#/channels/{publisher}"
    return {
        "action": action,
        "channel": {"$ref": where},
        "messages": [{"$ref": f"{where}/messages/{type_}"} for type_ in types],
    }


def mismatched_events(root: Path = ROOT) -> list[str]:
    """List, in sentences, events without a consumer and handlers of events without a publisher."""
    names = services(root)
    published = {event.type: service for service in names for event in events_of(service)}
    # Frontends read these from the publisher itself.
    streamed = {event.type for service in names for event in events_of(service) if has_stream(event)}
    consumed = {type_: service for service in names for type_ in consumed_by(service)}
    return [
        *(
            f"{published[type_]} publishes {type_}, and no service consumes it"
            for type_ in sorted(published.keys() - consumed.keys() - streamed)
        ),
        *(
            f"{consumed[type_]} consumes {type_}, and no service publishes it"
            for type_ in sorted(consumed.keys() - published.keys())
        ),
    ]


def text(document: Json) -> str:
    """Write a document, always in the same way."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
