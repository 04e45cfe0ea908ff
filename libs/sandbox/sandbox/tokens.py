"""The sandbox's tokenizer: what it counts is what it streams, so sums can be compared piece by piece."""

import json
import re
from dataclasses import dataclass

from sandbox.messages import Message, ModelRequest, Reply, Tool, ToolCall, ToolOutput

# With the space before it: up to six letters or digits of a word, or one other sign; or a run of spaces.
_PIECE = re.compile(r" ?\w{1,6}| ?[^\w\s]|\s+")


def tokenize(text: str) -> list[str]:
    """Split a text into tokens that join to the same text."""
    return _PIECE.findall(text)


def count_tokens(text: str) -> int:
    """Count the tokens of a text."""
    return len(tokenize(text))


@dataclass(frozen=True)
class Usage:
    """Tokens of one call: output includes reasoning, and input includes what was cached."""

    input: int
    cached: int
    output: int
    reasoning: int
    # Of the input, what was written to a cache, at the providers that count it.
    cache_write: int = 0

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input + self.output


def count_usage(request: ModelRequest, reply: Reply) -> Usage:
    """Count a call's tokens.

    Cached is what an earlier call of the conversation must have sent: all that stands before the model's
    latest contribution. Nothing is remembered between calls.
    """
    indexes = [index for index, item in enumerate(request.items) if _is_from_model(request, index)]
    base = count_tokens(request.instructions) + sum(_count_tool(tool) for tool in request.tools)
    sizes = [_count_item(item) for item in request.items]
    reasoning = count_tokens(reply.reasoning)
    calls = sum(count_tokens(name) + count_tokens(arguments) for name, arguments in reply.calls)
    return Usage(
        input=base + sum(sizes),
        cached=base + sum(sizes[: indexes[-1]]) if indexes else 0,
        output=reasoning + calls + count_tokens(reply.text),
        reasoning=reasoning,
    )


def _is_from_model(request: ModelRequest, index: int) -> bool:
    item = request.items[index]
    return isinstance(item, ToolCall) or (isinstance(item, Message) and item.role == "assistant")


def _count_item(item: Message | ToolCall | ToolOutput) -> int:
    match item:
        case Message(text=text):
            return count_tokens(text)
        case ToolCall(name=name, arguments=arguments):
            return count_tokens(name) + count_tokens(arguments)
        case ToolOutput(output=output):
            return count_tokens(output)


def _count_tool(tool: Tool) -> int:
    return count_tokens(f"{tool.name} {tool.description} {json.dumps(tool.parameters)}")
