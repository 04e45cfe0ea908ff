"""What callers have written of all that a model reads."""

from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

import orjson

from chat_agent.event_log.recovery import HANDOFF, join_text
from chat_agent.guardrails.messages import WRITTEN_BY_CALLERS, is_written_by_model
from chat_agent.guardrails.text_files import text_file
from chat_agent.items import Item, is_call, is_output
from chat_agent.model.request import ModelRequest
from chat_agent.runs.options import NO_OPTIONS, RunOptions


@dataclass(frozen=True)
class Caller:
    """Whose run it is, and what the caller has set that models read beside the conversation."""

    tenant_id: UUID | None = None
    options: RunOptions = NO_OPTIONS

    @cached_property
    def texts(self) -> Sequence[str]:
        """What models read of the options."""
        return [*texts_of_options(self.options)]


NOBODY = Caller()
# Of the current run.
CALLER: ContextVar[Caller] = ContextVar("CALLER", default=NOBODY)


def texts_of_options(options: RunOptions) -> Iterator[str]:
    """Yield what models read of options: values of variables, tools, and the schema of the answer."""
    yield from (f"[{name}] {value}" for name, value in options.variables.items())
    for tool in options.tools:
        yield f"[tool {tool.name}] {tool.model_description} {orjson.dumps(tool.parameters).decode()}"
    if options.output is not None:
        yield f"[answer {options.output.name}] {orjson.dumps(options.output.json_schema).decode()}"


@dataclass(frozen=True)
class CallerText:
    """What a caller has written, a message or an instruction."""

    text: str
    # How many messages of a conversation stand after it.
    age: int = 0
    is_message: bool = False


def texts_of_caller(items: Sequence[Item]) -> list[CallerText]:
    """Return what the caller has written of a conversation, and has set for the run, in order.

    What stands in the name of the assistant counts, unless a model of this service has written it.
    """
    written: list[CallerText] = []
    age = 0
    for item in reversed(items):
        role = item.get("role")
        if not is_written_by_model(item) and (text := text_of(item)):
            written.append(
                CallerText(text if role == "user" else labelled(role or "call", text), age, role == "user")
            )
        age += role in {"user", "assistant"}
    return [*map(CallerText, CALLER.get().texts), *reversed(written)]


def labelled(role: str, text: str) -> str:
    """Return a text with who is to have said it."""
    return f"[{role}] {text}"


def text_of(item: Item) -> str:
    """Return the text of a message, with its links and files, or of a call of a tool."""
    if is_call(item):
        return f"{item['name']}({item['arguments']})"
    if item.get("role") not in {*WRITTEN_BY_CALLERS, "assistant"}:
        return ""
    content = item.get("content") or ""
    if isinstance(content, str):
        return content
    files = [file for part in content if (file := text_file(part))]
    names = [str(one) for part in content if (one := part.get("filename") or link_of(part))]
    return "\n".join(filter(None, [join_text(content), *names, *(file.text for file in files)]))


def link_of(part: Item) -> str:
    """Return the address of an image, if a part has one."""
    url = str(part.get("image_url") or "")
    return "" if url.startswith("data:") else url


class Outputs(NamedTuple):
    """Outputs of tools that this agent has not called: the caller's, and of agents or tools before it."""

    of_caller: list[str]
    of_others: list[str]


def foreign_outputs(request: ModelRequest, items: Sequence[Item]) -> Outputs:
    """Return the outputs among items that were not checked when a tool gave them to this agent."""
    names = {item["call_id"]: item["name"] for item in items if is_models_call(item)}
    own = {tool.name for tool in request.tools} - CALLER.get().options.tool_names
    outputs = Outputs([], [])
    for item in items:
        if not is_output(item):
            continue
        name = names.get(item["call_id"])
        if name is None or name in CALLER.get().options.tool_names:
            outputs.of_caller.append(str(item["output"]))
        elif name not in own and not name.startswith(HANDOFF):
            outputs.of_others.append(str(item["output"]))
    return outputs


def is_models_call(item: Item) -> bool:
    """Return whether an item is a call of a model of this service."""
    return is_call(item) and is_written_by_model(item)
