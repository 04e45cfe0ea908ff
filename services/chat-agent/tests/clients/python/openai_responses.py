"""OpenAI's own client, on Responses."""

import json

from openai import AsyncOpenAI, NotFoundError
from pydantic import BaseModel
from report import AGAIN, IMAGE_URL, MODEL, STRUCTURED, TEXT, TOOLS, get_weather, report

client = AsyncOpenAI(max_retries=0)
GET_WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


class Person(BaseModel):
    name: str
    age: int


async def text():
    response = await client.responses.create(model=MODEL, input=TEXT)
    return response.output_text


async def stream():
    async with client.responses.stream(model=MODEL, input=TEXT) as events:
        return [event.delta async for event in events if event.type == "response.output_text.delta"]


async def usage():
    response = await client.responses.create(model=MODEL, input=TEXT)
    return [response.usage.input_tokens, response.usage.output_tokens]


async def tools():
    request = {"input": TOOLS}
    while True:
        async with client.responses.stream(model=MODEL, tools=[GET_WEATHER], **request) as events:
            response = await events.get_final_response()
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            return response.output_text
        outputs = [
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": get_weather(**json.loads(call.arguments)),
            }
            for call in calls
        ]
        request = {"input": outputs, "previous_response_id": response.id}


async def structured():
    response = await client.responses.parse(model=MODEL, input=STRUCTURED, text_format=Person)
    return response.output_parsed.model_dump()


async def images():
    parts = [{"type": "input_text", "text": TEXT}, {"type": "input_image", "image_url": IMAGE_URL}]
    response = await client.responses.create(model=MODEL, input=[{"role": "user", "content": parts}])
    return response.output_text


async def state_branches():
    first = await client.responses.create(model=MODEL, input=TEXT)
    for text in ("On another branch", AGAIN):
        response = await client.responses.create(model=MODEL, input=text, previous_response_id=first.id)
    return response.output_text


async def state_unstored():
    """Send the whole history each time, and leave nothing behind."""
    history = [{"role": "user", "content": TEXT}]
    first = await client.responses.create(model=MODEL, input=history, store=False)
    await expect_not_found(client.responses.retrieve(first.id))
    history += [*first.output, {"role": "user", "content": AGAIN}]
    return (await client.responses.create(model=MODEL, input=history, store=False)).output_text


async def state_references():
    first = await client.responses.create(model=MODEL, input=TEXT)
    (question,) = [item async for item in client.responses.input_items.list(first.id)]
    references = [{"type": "item_reference", "id": item.id} for item in (question, *first.output)]
    again = {"role": "user", "content": AGAIN}
    return (await client.responses.create(model=MODEL, input=[*references, again])).output_text


async def state_conversations():
    conversation = await client.conversations.create(metadata={"topic": "sweets"})
    for text in (TEXT, AGAIN):
        response = await client.responses.create(model=MODEL, input=text, conversation=conversation.id)
    items = [item async for item in client.conversations.items.list(conversation.id, order="asc")]
    assert [item.role for item in items] == ["user", "assistant"] * 2
    await client.conversations.items.delete(items[-1].id, conversation_id=conversation.id)
    assert (await client.conversations.retrieve(conversation.id)).metadata == {"topic": "sweets"}
    await client.conversations.delete(conversation.id)
    await expect_not_found(client.conversations.retrieve(conversation.id))
    return response.output_text


async def expect_not_found(request):
    try:
        await request
    except NotFoundError:
        return
    raise AssertionError("It is still there.")


report(
    "openai (Python), Responses",
    *(text, stream, usage, tools, structured, images),
    *(state_branches, state_unstored, state_references, state_conversations),
)
