"""The requests of Open WebUI, which is too large for the tests to install, and how it reads the answers.

They are written after its backend: a list of models, a chat as a stream with its own tools ("native"
calling), and the tasks behind a chat, such as its title, without a stream.
"""

import json

import httpx
from report import API_KEY, BASE_URL, IMAGE_URL, MODEL, TEXT, TOOLS, get_weather, report

HEADERS = {
    "Authorization": f"Bearer {API_KEY}",
    "X-OpenWebUI-User-Name": "Ada%20Lovelace",
    "X-OpenWebUI-User-Id": "9f0c2f4e-6f3c-4e0e-8a3a-1c1f6a5d2b7e",
    "X-OpenWebUI-User-Email": "ada@example.com",
    "X-OpenWebUI-User-Role": "user",
    "X-OpenWebUI-Chat-Id": "2f4c8f1e-0a3b-4d6c-9e7f-5b6a7c8d9e0f",
}
GET_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Return the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city."}},
            "required": ["city"],
        },
    },
}
client = httpx.Client(base_url=BASE_URL, headers=HEADERS, timeout=60)


def chunks(messages, **more):
    """Yield the chunks of a chat."""
    body = {"stream": True, "model": MODEL, "messages": messages, "stream_options": {"include_usage": True}}
    with client.stream("POST", "/chat/completions", json={**body, **more}) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                yield json.loads(line.removeprefix("data: "))


def deltas(messages, **more):
    """Yield what is new of the message."""
    for chunk in chunks(messages, **more):
        if "error" in chunk:
            raise RuntimeError(chunk["error"])
        yield from (choice["delta"] for choice in chunk["choices"])


def text():
    """Request the title of a chat."""
    models = client.get("/models").raise_for_status().json()["data"]
    assert MODEL in [model["id"] for model in models]
    history = f"<chat_history>\nUSER: {TEXT}\n</chat_history>"
    task = f"### Task:\nGenerate a concise title.\n### Chat History:\n{history}"
    messages = [{"role": "user", "content": task}]
    body = {"model": MODEL, "messages": messages, "stream": False, "max_completion_tokens": 1000}
    answer = client.post("/chat/completions", json=body).raise_for_status().json()
    return answer["choices"][0]["message"]["content"]


def stream():
    messages = [
        {"role": "system", "content": "The user's name is Ada Lovelace."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": [{"type": "text", "text": TEXT}]},
    ]
    return [delta.get("content") or "" for delta in deltas(messages)]


def usage():
    *_, last = chunks([{"role": "user", "content": TEXT}])
    assert last["choices"] == []
    return [last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]]


def tools():
    messages = [{"role": "user", "content": TOOLS}]
    while True:
        content, calls = "", {}
        for delta in deltas(messages, tools=[GET_WEATHER]):
            content += delta.get("content") or ""
            for part in delta.get("tool_calls") or []:
                if part["index"] in calls:
                    calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
                else:
                    calls[part["index"]] = part
        if not calls:
            return content
        # The calls are sent back as they came, with their index.
        messages.append({"role": "assistant", "content": content, "tool_calls": [*calls.values()]})
        for call in calls.values():
            output = get_weather(**json.loads(call["function"]["arguments"]))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": output})


def images():
    parts = [{"type": "text", "text": TEXT}, {"type": "image_url", "image_url": {"url": IMAGE_URL}}]
    return "".join(delta.get("content") or "" for delta in deltas([{"role": "user", "content": parts}]))


report("Open WebUI (its requests)", text, stream, usage, tools, images)
