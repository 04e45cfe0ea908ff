"""What the sandbox model answers: decided by the request alone, the same for the same request."""

import json
import re
from zlib import crc32

from sandbox.directives import Directives, strip
from sandbox.json_schema_examples import example, named_values
from sandbox.messages import (
    HANDOFF,
    INVALID_UTF8,
    Json,
    Message,
    ModelRequest,
    Reply,
    Tool,
    ToolCall,
    ToolOutput,
)
from sandbox.tokens import count_tokens, tokenize

DISCLOSURE = "I am Acme's sandbox model, a scripted stand-in: no language model wrote this."
REFUSAL = "I am Acme's sandbox model, a scripted stand-in, and I was asked to refuse."
REASONING = "The request is compared with a few patterns. The first that fits decides what is answered."

_INTENTS = {
    "current_time": r"\b(what|current|tell|know)\b[^.?!]*\btime\b|\btime\b[^.?!]*\b(is it|now|please)\b",
    "search_conversations": r"\b(we|i|you)\b[^.?!]*\b(said|say|discuss\w*|talk\w*|mention\w*|told|agree\w*)\b"
    r"|\bsearch\b|\bremember\b",
    "code_assistant": r"\b(cod(e|ing)|python|bugs?|functions?|debug\w*|programs?|refactor\w*)\b",
    "data_analyst": r"\b(data|datasets?|statistic\w*|csv|charts?|averages?|median|regression)\b",
}
_FILLER_SENTENCES = (
    "The words are always the same for the same request, so that a test can rely on them.",
    "Point the service at a real provider and a real answer stands here.",
    "What you see around these words is real: the tools, the handoffs, the stream and the counting.",
    "Nothing was looked up and nothing was thought through.",
    "My tokens are counted piece by piece, and the sums can be checked.",
    "I know the time only if a tool tells me.",
    "Ask for the time, for a review of code, or for what was said before, and tools will be called.",
)


def reply(request: ModelRequest, directives: Directives) -> Reply:
    """Decide between tool calls and words."""
    reasoning = REASONING if directives.reasoning else ""
    if directives.invent and directives.invent not in request.called:
        return Reply(calls=((directives.invent, "{}"),), reasoning=reasoning)
    calls = tuple(
        (tool.name, _arguments(tool, request, directives)) for tool in _next_tools(request, directives)
    )
    if calls:
        return Reply(calls=calls, reasoning=reasoning)
    text = REFUSAL if directives.refuse else _answer_text(request, directives)
    text += f" {INVALID_UTF8}." if directives.invalid_utf8 else ""
    room = max(request.max_tokens - count_tokens(reasoning), 0) if request.max_tokens else None
    tokens = tokenize(text)[:room]
    return Reply("".join(tokens), (), reasoning, directives.refuse, is_cut="".join(tokens) != text)


def _next_tools(request: ModelRequest, directives: Directives) -> list[Tool]:
    """Choose what to call now: all tools still wanted, or else one handoff."""
    if request.tool_choice == "none" or directives.refuse:
        return []
    named = [tool for tool in request.tools if tool.name == request.tool_choice]
    if named or directives.loop:
        return named or _any_tool(request)
    must_call = request.tool_choice == "required" or (directives.malformed_arguments and not request.called)
    pending = _pending(request, directives) or (_fitting_tool(request) if must_call else [])
    tools = [tool for tool in pending if not tool.is_handoff]
    return (tools if request.is_parallel else tools[:1]) or pending[:1]


def _any_tool(request: ModelRequest) -> list[Tool]:
    return sorted(request.tools, key=lambda tool: tool.is_handoff)[:1]


def _fitting_tool(request: ModelRequest) -> list[Tool]:
    """Choose the tool whose arguments the question names best, among those that were not called since."""
    question = strip(request.question)

    def rank(tool: Tool) -> tuple[bool, bool, int]:
        return (tool.is_handoff, tool.name in request.called, -len(named_values(question, tool.parameters)))

    return sorted(request.tools, key=rank)[:1]


def _pending(request: ModelRequest, directives: Directives) -> list[Tool]:
    available = {tool.name: tool for tool in request.tools}
    names = [name for name in directives.call if name in available]
    ordered = [available[name] for name in _not_yet_called(names, request.called)]
    question = strip(request.question)
    return ordered + [
        tool
        for tool in request.tools
        if tool.name not in names and tool.name not in request.called and _matches_question(tool, question)
    ]


def _not_yet_called(names: list[str], called: tuple[str, ...]) -> list[str]:
    """Leave out of the names asked for as many as were called already."""
    return [name for index, name in enumerate(names) if names[:index].count(name) >= called.count(name)]


def _matches_question(tool: Tool, question: str) -> bool:
    """Whether the question fits the tool's pattern or names it."""
    name = tool.name.removeprefix(HANDOFF)
    by_name = rf"\b({re.escape(name)}|{re.escape(name.replace('_', ' '))})\b"
    by_intent = [pattern for known, pattern in _INTENTS.items() if known in name]
    return re.search("|".join([by_name, *by_intent]), question, re.IGNORECASE) is not None


def _arguments(tool: Tool, request: ModelRequest, directives: Directives) -> str:
    arguments = json.dumps(example(tool.parameters, strip(request.question)), ensure_ascii=False)
    return arguments[:-1] + ', "broken' if directives.malformed_arguments else arguments


def _answer_text(request: ModelRequest, directives: Directives) -> str:
    schema = request.schema or _schema_in(request.instructions)
    if schema is not None and not directives.malformed_output:
        return json.dumps(example(schema, strip(request.question)), ensure_ascii=False)
    text = " ".join(
        [
            DISCLOSURE,
            *_role(request),
            *_tool_outputs(request),
            *_quotes(request),
            *_attachments(request),
            _filler(request.question, 0),
        ]
    )
    if directives.tokens is None:
        return text
    more = 1
    while count_tokens(text) < directives.tokens:
        text += " " + _filler(request.question, more)
        more += 1
    return "".join(tokenize(text)[: directives.tokens])


def _schema_in(instructions: str) -> Json | None:
    """Read the schema of the answer from the instructions, where they end in one."""
    match = re.search(r"\bJSON schema:\s*(\{.*\})\s*\Z", instructions, re.DOTALL)
    return json.loads(match.group(1)) if match else None


def _filler(question: str, number: int) -> str:
    return _FILLER_SENTENCES[(crc32(question.encode()) + number) % len(_FILLER_SENTENCES)]


def _role(request: ModelRequest) -> list[str]:
    """Return who answers: who the instructions say it is, or whom the last handoff went to."""
    handoffs = [name.removeprefix(HANDOFF) for name in request.called if name.startswith(HANDOFF)]
    if handoffs:
        return [f"Speaking as the {handoffs[-1].replace('_', ' ')}, to whom this was handed over."]
    match = re.match(r"\s*you are ((?:an?|the) [^.,;:\n]{2,60})[.,;:\n]", request.instructions, re.IGNORECASE)
    return [f"Speaking as {match.group(1)}."] if match else []


def _tool_outputs(request: ModelRequest) -> list[str]:
    names = {item.id: item.name for item in request.since_question if isinstance(item, ToolCall)}
    outputs = [
        (names.get(item.id, "tool"), item.output)
        for item in request.since_question
        if isinstance(item, ToolOutput)
    ]
    return [
        f"{name} says: {_shorten(text, 400).rstrip('.')}."
        for name, text in outputs
        if not name.startswith(HANDOFF)
    ]


def _quotes(request: ModelRequest) -> list[str]:
    questions = [
        strip(item.text) for item in request.items if isinstance(item, Message) and item.role == "user"
    ]
    quotes = [f'You wrote: "{_shorten(questions[-1], 160)}"'] if questions else ["You wrote nothing."]
    return quotes + (
        [f'Before that you wrote: "{_shorten(questions[-2], 80)}"'] if len(questions) > 1 else []
    )


def _attachments(request: ModelRequest) -> list[str]:
    """Return which images and files came with the conversation."""
    all_ = [one for item in request.items if isinstance(item, Message) for one in item.attachments]
    return [f"I was sent {', '.join(all_)}."] if all_ else []


def _shorten(text: str, max_length: int) -> str:
    """Return a text on one line, cut to a length."""
    line = " ".join(text.split())
    return line if len(line) <= max_length else f"{line[: max_length - 1]}…"
