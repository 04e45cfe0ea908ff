"""OpenAI's own client, on Chat Completions."""

from openai import OpenAI
from pydantic import BaseModel
from report import EMBEDDING_MODEL, IMAGE_URL, MODEL, STRUCTURED, TEXT, TOOLS, get_weather, report

client = OpenAI(max_retries=0)
GET_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


class Person(BaseModel):
    name: str
    age: int


def ask(content: str, **more):
    messages = [{"role": "user", "content": content}]
    return client.chat.completions.create(model=MODEL, messages=messages, **more)


def text():
    return ask(TEXT).choices[0].message.content


def stream():
    return [chunk.choices[0].delta.content or "" for chunk in ask(TEXT, stream=True)]


def usage():
    *_, last = ask(TEXT, stream=True, stream_options={"include_usage": True})
    return [last.usage.prompt_tokens, last.usage.completion_tokens]


def tools():
    messages = [{"role": "user", "content": TOOLS}]
    while True:
        with client.chat.completions.stream(model=MODEL, messages=messages, tools=[GET_WEATHER]) as chunks:
            message = chunks.get_final_completion().choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message.to_dict())
        for call in message.tool_calls:
            output = get_weather(**call.function.parsed_arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": output})


def structured():
    messages = [{"role": "user", "content": STRUCTURED}]
    answer = client.chat.completions.parse(model=MODEL, messages=messages, response_format=Person)
    return answer.choices[0].message.parsed.model_dump()


def embeddings():
    # Without a format the client asks for base64, and decodes it.
    return [
        one.embedding for one in client.embeddings.create(model=EMBEDDING_MODEL, input=[TEXT, TOOLS]).data
    ]


def images():
    part = {"type": "image_url", "image_url": {"url": IMAGE_URL, "detail": "low"}}
    return ask([{"type": "text", "text": TEXT}, part]).choices[0].message.content


report("openai (Python), Chat Completions", text, stream, usage, tools, structured, embeddings, images)
