"""gptme: the steps of its chat, with a tool of its own kind; it finds the server as its command does."""

import os

# It would fetch a vocabulary.
os.environ["GPTME_TIKTOKEN_TIMEOUT"] = "0"

from gptme.chat import step
from gptme.init import init
from gptme.message import Message
from gptme.tools import Parameter, ToolSpec, get_tools
from report import MODEL, TEXT, TOOLS, get_weather, report


def execute(code, args, kwargs):
    yield Message("system", get_weather(**kwargs))


init(f"local/{MODEL}", interactive=False, tool_allowlist=[], tool_format="tool", no_confirm=True)
WEATHER = ToolSpec(
    name="get_weather",
    desc="Return the weather of a city.",
    execute=execute,
    parameters=[Parameter(name="city", type="string", description="The city.", required=True)],
)
get_tools().append(WEATHER)


def ask(content, is_stream=False):
    log = [Message("user", content)]
    while True:
        new = list(step(log, is_stream, tool_format="tool"))
        log += new
        if new[-1].role == "assistant":
            return new[-1].content


def text():
    return ask(TEXT)


def stream():
    return [ask(TEXT, is_stream=True)]


def tools():
    return ask(TOOLS)


def stream_tools():
    return ask(TOOLS, is_stream=True)


report("gptme", text, stream, tools, stream_tools)
