"""What the sandbox model answers: decided by the request alone, the same for the same request."""

import json
import re
from zlib import crc32

from sandbox.directives import Directives, strip
from sandbox.json_schema_examples import example
from sandbox.messages import HANDOFF, UNSAYABLE, Called, Reply, Returned, Said, Tool, Turn
from sandbox.tokens import count, pieces

HONEST = "I am Acme's sandbox model, a scripted stand-in: no language model wrote this."
REFUSAL = "I am Acme's sandbox model, a scripted stand-in, and I was asked to refuse."
REASONING = "The request is compared with a few patterns. The first that fits decides what is answered."

_INTENTS = {
    "current_time": r"\b(what|current|tell|know)\b[^.?!]*\btime\b|\btime\b[^.?!]*\b(is it|now|please)\b",
    "search_conversations": r"\b(we|i|you)\b[^.?!]*\b(said|say|discuss\w*|talk\w*|mention\w*|told|agree\w*)\b"
    r"|\bsearch\b|\bremember\b",
    "code_assistant": r"\b(cod(e|ing)|python|bugs?|functions?|debug\w*|programs?|refactor\w*)\b",
    "data_analyst": r"\b(data|datasets?|statistic\w*|csv|charts?|averages?|median|regression)\b",
}
_FILLERS = (
    "The words are always the same for the same request, so that a test can rely on them.",
    "Point the service at a real provider and a real answer stands here.",
    "What you see around these words is real: the tools, the handoffs, the stream and the counting.",
    "Nothing was looked up and nothing was thought through.",
    "My tokens are counted piece by piece, and the sums can be checked.",
    "I know the time only if a tool tells me.",
    "Ask for the time, for a review of code, or for what was said before, and tools will be called.",
)


def reply(turn: Turn, directives: Directives) -> Reply:
    """Decide between tool calls and words."""
    reasoning = REASONING if directives.reasoning else ""
    if directives.invent and directives.invent not in turn.called:
        return Reply(calls=((directives.invent, "{}"),), reasoning=reasoning)
    calls = tuple((tool.name, _arguments(tool, turn, directives)) for tool in _next_tools(turn, directives))
    if calls:
        return Reply(calls=calls, reasoning=reasoning)
    text = REFUSAL if directives.refuse else _answer(turn, directives)
    text += f" {UNSAYABLE}." if directives.invalid_utf8 else ""
    room = max(turn.max_tokens - count(reasoning), 0) if turn.max_tokens else None
    said = pieces(text)[:room]
    return Reply("".join(said), (), reasoning, directives.refuse, is_cut="".join(said) != text)


def _next_tools(turn: Turn, directives: Directives) -> list[Tool]:
    """Choose what to call now: all tools still wanted, or else one handoff."""
    if turn.tool_choice == "none" or directives.refuse:
        return []
    named = [tool for tool in turn.tools if tool.name == turn.tool_choice]
    if named or directives.loop:
        return named or _any(turn)
    must_call = turn.tool_choice == "required" or (directives.malformed_arguments and not turn.called)
    pending = _pending(turn, directives) or (_any(turn) if must_call else [])
    tools = [tool for tool in pending if not tool.is_handoff]
    return (tools if turn.is_parallel else tools[:1]) or pending[:1]


def _any(turn: Turn) -> list[Tool]:
    return sorted(turn.tools, key=lambda tool: tool.is_handoff)[:1]


def _pending(turn: Turn, directives: Directives) -> list[Tool]:
    offered = {tool.name: tool for tool in turn.tools}
    asked = [name for name in directives.call if name in offered]
    ordered = [offered[name] for name in _less(asked, turn.called)]
    question = strip(turn.question)
    return ordered + [
        tool
        for tool in turn.tools
        if tool.name not in asked and tool.name not in turn.called and _is_wanted(tool, question)
    ]


def _less(asked: list[str], called: tuple[str, ...]) -> list[str]:
    """Leave out of the names asked for as many as were called already."""
    return [name for index, name in enumerate(asked) if asked[:index].count(name) >= called.count(name)]


def _is_wanted(tool: Tool, question: str) -> bool:
    """Whether the question fits the tool's pattern or names it."""
    name = tool.name.removeprefix(HANDOFF)
    by_name = rf"\b({re.escape(name)}|{re.escape(name.replace('_', ' '))})\b"
    by_intent = [pattern for known, pattern in _INTENTS.items() if known in name]
    return re.search("|".join([by_name, *by_intent]), question, re.IGNORECASE) is not None


def _arguments(tool: Tool, turn: Turn, directives: Directives) -> str:
    arguments = json.dumps(example(tool.parameters, strip(turn.question)), ensure_ascii=False)
    return arguments[:-1] + ', "broken' if directives.malformed_arguments else arguments


def _answer(turn: Turn, directives: Directives) -> str:
    if turn.schema is not None:
        return json.dumps(example(turn.schema, strip(turn.question)), ensure_ascii=False)
    text = " ".join([HONEST, *_role(turn), *_tool_outputs(turn), *_quotes(turn), _filler(turn.question, 0)])
    if directives.tokens is None:
        return text
    more = 1
    while count(text) < directives.tokens:
        text += " " + _filler(turn.question, more)
        more += 1
    return "".join(pieces(text)[: directives.tokens])


def _filler(question: str, number: int) -> str:
    return _FILLERS[(crc32(question.encode()) + number) % len(_FILLERS)]


def _role(turn: Turn) -> list[str]:
    """Say who speaks: who the instructions say it is, or whom the last handoff went to."""
    handoffs = [name.removeprefix(HANDOFF) for name in turn.called if name.startswith(HANDOFF)]
    if handoffs:
        return [f"Speaking as the {handoffs[-1].replace('_', ' ')}, to whom this was handed over."]
    told = re.match(r"\s*you are ((?:an?|the) [^.,;:\n]{2,60})[.,;:\n]", turn.instructions, re.IGNORECASE)
    return [f"Speaking as {told.group(1)}."] if told else []


def _tool_outputs(turn: Turn) -> list[str]:
    names = {item.id: item.name for item in turn.since if isinstance(item, Called)}
    outputs = [(names.get(item.id, "tool"), item.output) for item in turn.since if isinstance(item, Returned)]
    return [
        f"{name} says: {_brief(text, 400).rstrip('.')}."
        for name, text in outputs
        if not name.startswith(HANDOFF)
    ]


def _quotes(turn: Turn) -> list[str]:
    asked = [strip(item.text) for item in turn.items if isinstance(item, Said) and item.role == "user"]
    now = [f'You wrote: "{_brief(asked[-1], 160)}"'] if asked else ["You wrote nothing."]
    return now + ([f'Before that you wrote: "{_brief(asked[-2], 80)}"'] if len(asked) > 1 else [])


def _brief(text: str, longest: int) -> str:
    """Keep a text on one line and short."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
