import json
import tracemalloc
from dataclasses import replace
from typing import Any

import orjson
import pytest
from agents import Agent, ModelSettings, function_tool, handoff
from agents.models.interface import ModelTracing
from chat_agent.model.request import ModelRequest
from chat_agent.model.request_size import SchemaSizes, input_characters

IMAGE = {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64," + "iVBO" * 700}
LINK = {"type": "input_image", "detail": "low", "image_url": "https://example.com/a.png?b=c&d"}
PDF = "data:application/pdf;base64," + "JVBE" * 90
FILE = {"type": "input_file", "filename": "bill.pdf", "file_data": PDF}
AUDIO = {"type": "input_audio", "input_audio": {"data": "UklG" * 300, "format": "wav"}}
TEXT = {"type": "input_text", "text": 'What is "this", <b>näher</b> besehen?\n\u2028'}
CALL = {"type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": '{"name": "x"}'}


@function_tool
def look_up(name: str, tags: list[str]) -> str:
    """Find a name, in „Nachschlagewerken“."""
    return name + "".join(tags)


@function_tool
def count() -> int:
    """Count."""
    return 0


def message(*parts: Any) -> Any:
    return {"type": "message", "role": "user", "content": list(parts)}


def request_of(input: Any, tools: Any = (), handoffs: Any = ()) -> ModelRequest:
    settings, tracing = ModelSettings(), ModelTracing.DISABLED
    return ModelRequest("Answer briefly.", input, settings, list(tools), None, list(handoffs), tracing)


def encoded_whole(request: ModelRequest, attachments: list[str]) -> int:
    """Encode all that is sent, and count each attachment as 4000 characters."""
    schemas = [one.params_json_schema for one in request.tools]
    schemas += [one.input_json_schema for one in request.handoffs]
    whole = orjson.dumps([request.system_instructions, request.input, schemas]).decode()
    return len(whole) - sum(map(len, attachments)) + 4000 * len(attachments)


@pytest.mark.parametrize(
    ("input", "attachments"),
    [
        ("Hello", []),
        ([], []),
        ([{"role": "user", "content": "Grüße"}, CALL], []),
        ([message(TEXT, IMAGE)], [IMAGE["image_url"]]),
        (
            [message(IMAGE, LINK, TEXT), message(FILE)],
            [IMAGE["image_url"], LINK["image_url"], PDF],
        ),
        ([message(AUDIO), CALL, message(TEXT)], ["UklG" * 300]),
    ],
)
@pytest.mark.parametrize("tools", [[], [look_up], [look_up, count]])
@pytest.mark.parametrize("handoffs", [[], [handoff(Agent(name="Other"))]])
def test_an_attachment_counts_alike_whatever_its_bytes(
    input: Any, attachments: list[str], tools: Any, handoffs: Any
) -> None:
    request = request_of(input, tools, handoffs)
    assert input_characters(request, SchemaSizes()) == encoded_whole(request, attachments)
    assert request.input is input
    assert json.dumps(input).count("x" * 4000) == 0


def test_the_data_of_an_attachment_is_not_encoded() -> None:
    image = {**IMAGE, "image_url": "data:image/png;base64," + "iVBO" * 1_000_000}
    request = request_of([message(TEXT, image)])
    tracemalloc.start()
    try:
        input_characters(request, SchemaSizes())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_the_schemas_of_an_agents_tools_are_measured_once_for_a_run() -> None:
    sizes, tools = (
        SchemaSizes(),
        [replace(count, params_json_schema={"type": "object"}, strict_json_schema=False)],
    )
    assert sizes.of(tools) == len('[{"type":"object"}]')
    tools[0].params_json_schema["title"] = "longer"
    assert sizes.of([*tools]) == len('[{"type":"object"}]')
    assert SchemaSizes().of(tools) == len('[{"type":"object","title":"longer"}]')
    assert sizes.of([]) == len("[]")
