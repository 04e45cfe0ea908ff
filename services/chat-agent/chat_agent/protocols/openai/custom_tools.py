"""Custom tools of OpenAI's clients, whose input is a text: models call them as functions of one argument."""

from typing import Any, Literal

import orjson
from pydantic import Field

from chat_agent.protocols.errors import InvalidParameter
from chat_agent.protocols.requests import LenientModel, Text
from chat_agent.runs.options import ClientTool

SCHEMA = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}


class Grammar(LenientModel):
    """What an input has to match."""

    syntax: Literal["lark", "regex"]
    definition: Text = Field(min_length=1)


class InputFormat(LenientModel):
    """The form of an input: the grammar is in an object of its own in Chat Completions."""

    type: Literal["text", "grammar"] = "text"
    grammar: Grammar | None = None
    syntax: Literal["lark", "regex"] | None = None
    definition: Text | None = Field(None, min_length=1)

    def to_format(self, place: str) -> dict[str, Any]:
        """Return the form as Responses has it; raises InvalidParameter."""
        grammar = self.grammar or self
        if self.type == "text" and grammar is self:
            return {"type": "text"}
        if grammar.syntax is None or grammar.definition is None:
            raise InvalidParameter(place, "A grammar needs `syntax` and `definition`.")
        return {"type": "grammar", "syntax": grammar.syntax, "definition": grammar.definition}


class CustomFields(LenientModel):
    """What a client says of a custom tool besides its name."""

    description: Text | None = None
    format: InputFormat | None = None

    def to_custom_tool(self, name: str, place: str) -> ClientTool:
        """Return the tool; raises InvalidParameter."""
        format_ = self.format.to_format(f"{place}.format") if self.format else {}
        return ClientTool(
            name=name,
            description=self.description,
            parameters=SCHEMA,
            is_strict=True,
            input_format=format_,
        )


def arguments_of(input: str) -> str:
    """Return the arguments of the function that stands for a custom tool."""
    return orjson.dumps({"input": input}).decode()


def input_of(arguments: str) -> str:
    """Return the input of a custom tool; all of the arguments where a model has sent something else."""
    try:
        value = orjson.loads(arguments)["input"]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        return arguments
    return value if isinstance(value, str) else arguments
