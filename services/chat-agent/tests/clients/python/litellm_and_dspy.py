"""LiteLLM's completion for compatible servers, and DSPy, which is built on it; it is slow to import."""

import json

import dspy
import litellm
from pydantic import BaseModel
from report import (
    API_KEY,
    BASE_URL,
    EMBEDDING_MODEL,
    IMAGE_URL,
    MODEL,
    STRUCTURED,
    TEXT,
    TOOLS,
    get_weather,
    report,
)

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
SERVER = {"model": f"openai/{MODEL}", "api_base": BASE_URL, "api_key": API_KEY, "num_retries": 0}


class Person(BaseModel):
    name: str
    age: int


def ask(content, **more):
    return litellm.completion(messages=[{"role": "user", "content": content}], **SERVER, **more)


def text():
    return ask(TEXT).choices[0].message.content


def stream():
    return [chunk.choices[0].delta.content or "" for chunk in ask(TEXT, stream=True)]


def usage():
    used = ask(TEXT).usage
    return [used.prompt_tokens, used.completion_tokens]


def tools():
    messages = [{"role": "user", "content": TOOLS}]
    while calls := (answer := complete(messages)).tool_calls:
        messages.append(answer)
        for call in calls:
            output = get_weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": output})
    return answer.content


def complete(messages):
    return litellm.completion(messages=messages, tools=[TOOL], **SERVER).choices[0].message


def structured():
    return json.loads(ask(STRUCTURED, response_format=Person).choices[0].message.content)


def embeddings():
    answer = litellm.embedding(**{**SERVER, "model": f"openai/{EMBEDDING_MODEL}"}, input=[TEXT, TOOLS])
    return [one["embedding"] for one in answer.data]


def images():
    content = [{"type": "text", "text": TEXT}, {"type": "image_url", "image_url": IMAGE_URL}]
    return ask(content).choices[0].message.content


report("LiteLLM", text, stream, usage, tools, structured, embeddings, images)

lm = dspy.LM(**SERVER, cache=False)
dspy.configure(lm=lm, adapter=dspy.JSONAdapter())


def text():
    return lm(TEXT)[0]


def usage():
    lm(TEXT)
    used = lm.history[-1]["usage"]
    return [used["prompt_tokens"], used["completion_tokens"]]


def structured():
    answer = dspy.Predict("question -> name: str, age: int")(question=STRUCTURED)
    return {"name": answer.name, "age": answer.age}


def images():
    content = [{"type": "text", "text": TEXT}, *dspy.Image(IMAGE_URL).format()]
    return lm(messages=[{"role": "user", "content": content}])[0]


report("DSPy", text, usage, structured, images)
