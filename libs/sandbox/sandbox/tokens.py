"""The sandbox's tokenizer: what it counts is what it streams, so sums can be compared piece by piece."""

import json
import re
from dataclasses import dataclass

from sandbox.messages import Called, Reply, Returned, Said, Tool, Turn

# With the space before it: up to six letters or digits of a word, or one other sign; or a run of spaces.
_PIECE = re.compile(r" ?\w{1,6}| ?[^\w\s]|\s+")


def pieces(text: str) -> list[str]:
    """Split a text into tokens that join to the same text."""
    return _PIECE.findall(text)


def count(text: str) -> int:
    """Count the tokens of a text."""
    return len(pieces(text))


@dataclass(frozen=True)
class Usage:
    """Tokens of one call: output includes reasoning, and input includes what was cached."""

    input: int
    cached: int
    output: int
    reasoning: int

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input + self.output


def usage_of(turn: Turn, reply: Reply) -> Usage:
    """Count a call's tokens.

    Cached is what an earlier call of the conversation must have sent: all that stands before the model's
    latest contribution. Nothing is remembered between calls.
    """
    made = [index for index, item in enumerate(turn.items) if _is_the_models(turn, index)]
    base = count(turn.instructions) + sum(_of_tool(tool) for tool in turn.tools)
    sizes = [_of_item(item) for item in turn.items]
    reasoning = count(reply.reasoning)
    calls = sum(count(name) + count(arguments) for name, arguments in reply.calls)
    return Usage(
        input=base + sum(sizes),
        cached=base + sum(sizes[: made[-1]]) if made else 0,
        output=reasoning + calls + count(reply.text),
        reasoning=reasoning,
    )


def _is_the_models(turn: Turn, index: int) -> bool:
    item = turn.items[index]
    return isinstance(item, Called) or (isinstance(item, Said) and item.role == "assistant")


def _of_item(item: Said | Called | Returned) -> int:
    match item:
        case Said(text=text):
            return count(text)
        case Called(name=name, arguments=arguments):
            return count(name) + count(arguments)
        case Returned(output=output):
            return count(output)


def _of_tool(tool: Tool) -> int:
    return count(f"{tool.name} {tool.description} {json.dumps(tool.parameters)}")
