"""OpenAI's own client, on Responses."""

import json

from openai import AsyncOpenAI
from pydantic import BaseModel
from report import MODEL, STRUCTURED, TEXT, TOOLS, get_weather, report

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
    asked = {"input": TOOLS}
    while True:
        async with client.responses.stream(model=MODEL, tools=[GET_WEATHER], **asked) as events:
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
        asked = {"input": outputs, "previous_response_id": response.id}


async def structured():
    response = await client.responses.parse(model=MODEL, input=STRUCTURED, text_format=Person)
    return response.output_parsed.model_dump()


report("openai (Python), Responses", text, stream, usage, tools, structured)
