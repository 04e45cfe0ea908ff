"""`prompt` of Responses: OpenAI's stored prompts are agents here, and their variables are the agent's."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator, Field
from servicekit.auth.tokens import Principal
from servicekit.schemas import max_length

from chat_agent.agent_definitions.errors import AgentVersionNotFound
from chat_agent.agent_definitions.selection import AgentSelection
from chat_agent.api.deadlines import capacity_limit
from chat_agent.errors import AgentNotFound
from chat_agent.execution.manager import RunManager
from chat_agent.protocols.errors import UnsupportedParameter
from chat_agent.protocols.requests import LenientModel, Name
from chat_agent.schemas import VariableName, VariableText, VariableValue

PLACE = "prompt.variables"
NUMBER = re.compile("[1-9][0-9]{0,8}")


class PromptPart(LenientModel):
    """A value that is a part of a message; only text can stand in instructions."""

    type: Name
    text: VariableText | None = None


class Prompt(LenientModel):
    """An agent, which of its versions answers, and values for its variables."""

    id: Name = Field(description="The agent that answers, as in `model`.")
    version: Name | None = Field(None, description="One that answers now: the stable one or the canary.")
    variables: Annotated[
        dict[VariableName, VariableValue | PromptPart],
        Field(max_length=50, description="Values that the instructions of the agent name."),
        BeforeValidator(max_length(50)),
    ] = Field(default_factory=dict)

    def values(self) -> dict[str, VariableValue]:
        """Return the values; raises UnsupportedParameter for images and files."""
        return {name: value_of(name, value) for name, value in self.variables.items()}


def value_of(name: str, value: VariableValue | PromptPart) -> VariableValue:
    """Return the value of one variable; raises UnsupportedParameter."""
    if not isinstance(value, PromptPart):
        return value
    if value.type != "input_text" or value.text is None:
        raise UnsupportedParameter(f"{PLACE}.{name}", "The value of a variable is a text.")
    return value.text


async def select_version(
    manager: RunManager, caller: Principal, prompt: Prompt | None, conversation_id: UUID | None
) -> AgentSelection | None:
    """Return an agent in the version that a prompt names, if it names one.

    Raises AgentVersionNotFound, RunCapacityExceeded.
    """
    if prompt is None or prompt.version is None:
        return None
    number = int(prompt.version) if NUMBER.fullmatch(prompt.version) else None
    async with capacity_limit(manager.database):
        selected = await manager.select_agent(caller.tenant_id, prompt.id, conversation_id, number)
    if selected is None or number in {one.number for one in selected.versions if one.name == prompt.id}:
        return selected
    detail = f"No version {prompt.version!r} of the agent {prompt.id!r} answers. Leave `version` out."
    raise AgentVersionNotFound(detail, param="prompt.version")


@contextmanager
def named_by(prompt: Prompt | None) -> Iterator[None]:
    """Name the place of an agent that a prompt names and that does not exist."""
    try:
        yield
    except AgentNotFound as error:
        if prompt is None:
            raise
        raise AgentNotFound(error.detail, param="prompt.id") from error
