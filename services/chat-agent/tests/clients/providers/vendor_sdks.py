"""Read streams with the clients of the providers, and print what they understood, a line of JSON for each.

Arguments: the base URL, and the names of streams, such as `anthropic-text`; each is served below its name.
"""

import json
import sys


def read_anthropic(base_url: str):
    """Return the message of a stream of Messages."""
    import anthropic  # noqa: PLC0415  # only one of the two is needed at a time

    client = anthropic.Anthropic(base_url=base_url, api_key="sk", max_retries=0)
    messages = [{"role": "user", "content": "Hi"}]
    with client.messages.stream(model="m", max_tokens=100, messages=messages) as stream:
        return json.loads(stream.get_final_message().model_dump_json())


def read_gemini(base_url: str):
    """Return the chunks of a stream of generateContent."""
    from google import genai  # noqa: PLC0415

    client = genai.Client(api_key="sk", http_options=genai.types.HttpOptions(base_url=base_url))
    chunks = client.models.generate_content_stream(model="m", contents="Hi")
    return [json.loads(chunk.model_dump_json(exclude_none=True)) for chunk in chunks]


READERS = {"anthropic": read_anthropic, "gemini": read_gemini}
url, *names = sys.argv[1:]
for name in names:
    understood = READERS[name.partition("-")[0]](f"{url}/{name}")
    sys.stdout.write(json.dumps({"name": name, "understood": understood}) + "\n")
