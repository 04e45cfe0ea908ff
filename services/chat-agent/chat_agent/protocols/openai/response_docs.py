"""How the answers of these routes are described in the service's document."""

from collections.abc import Sequence

from chat_agent.protocols import responses
from chat_agent.protocols.openai.response_object import Json


def complete_or_stream_doc(description: str, name: str) -> responses.Responses:
    """Describe an answer that comes whole or as a stream."""
    both = responses.stream_response_doc(description)
    return {200: {**both, "content": {**both["content"], **complete_doc(name)}}}


def complete_doc(name: str | None, required: Sequence[str] = ("id", "object")) -> Json:
    """Describe an answer that comes whole."""
    properties = {"object": {"const": name}} if name else {}
    schema = {"type": "object", "required": [*required], "properties": properties}
    return {"application/json": {"schema": schema}}
