"""The events of a run in the service's OpenAPI document."""

from typing import Any

from fastapi import FastAPI

COMPONENT = "#/components/schemas/{model}"
STREAM_EVENT = {"$ref": COMPONENT.format(model="RunStreamEvent")}


def document_events(app: FastAPI) -> None:
    """Add the events to the schemas of the service's document; FastAPI itself has none for streams."""
    describe = app.openapi

    def document() -> dict[str, Any]:
        # Not before: only the document needs these models.
        from chat_agent.event_log.schemas import RunStreamEvent  # noqa: PLC0415

        made = describe()
        own = RunStreamEvent.model_json_schema(ref_template=COMPONENT)
        events = {**own.pop("$defs"), RunStreamEvent.__name__: own}
        components = made["components"]
        components["schemas"] = {**events, **components["schemas"]}
        return made

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
