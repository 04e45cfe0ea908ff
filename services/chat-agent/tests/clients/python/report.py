"""What the scripts of this folder share: the task of each capability, and how they print what they got."""

import asyncio
import base64
import inspect
import json
import os
import sys
import traceback

API_KEY = os.environ["OPENAI_API_KEY"]
BASE_URL = os.environ["OPENAI_BASE_URL"]
MODEL = "triage"
EMBEDDING_MODEL = "acme/embeddings"
TASKS = json.loads(os.environ["TASKS"])
TEXT, TOOLS, STRUCTURED, AGAIN = (TASKS[name] for name in ("text", "tools", "structured", "again"))
# A data URL, and its bytes.
IMAGE_URL = TASKS["image"]
IMAGE = base64.b64decode(IMAGE_URL.partition(",")[2])
calls = []


def get_weather(city: str) -> str:
    """Return the weather of a city."""
    calls.append(city)
    return f"Snow in {city}"


def report(client, *capabilities):
    """Try each capability, and print what it returned, or how it failed, as a line of JSON."""
    results = asyncio.run(try_all(capabilities))
    sys.stdout.write(json.dumps({"client": client, "results": results}) + "\n")


async def try_all(capabilities):
    """Return what each capability has returned."""
    return {capability.__name__: await attempt(capability) for capability in capabilities}


async def attempt(capability):
    """Return what a capability returns, and which calls of the tool it has made."""
    calls.clear()
    try:
        result = capability()
        if inspect.isawaitable(result):
            result = await result
    except Exception:
        return {"error": traceback.format_exc()}
    return {"calls": [*calls], "text": result} if "tools" in capability.__name__ else result
