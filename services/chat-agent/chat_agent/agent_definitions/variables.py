"""The values of variables that a request brings, whichever protocol it speaks."""

from collections.abc import Mapping

from chat_agent.agent_definitions.errors import InvalidVariables
from chat_agent.agent_definitions.selection import AgentSelection
from chat_agent.schemas import VariableValue

Values = Mapping[str, VariableValue]


def check_values(selection: AgentSelection, values: Values, place: str = "variables") -> None:
    """Raise InvalidVariables for values that no agent of a run takes, or that are missing."""
    declared = [
        (name, variable)
        for definition in selection.definitions.values()
        for name, variable in definition.variables.items()
    ]
    if unknown := values.keys() - {name for name, _ in declared}:
        name = min(unknown)
        raise InvalidVariables(f"{place}.{name}", f"The agent has no variable called {name!r}.")
    for name, variable in declared:
        if name not in values and variable.default is None:
            raise InvalidVariables(f"{place}.{name}", f"The agent needs a value for the variable {name!r}.")
        if name in values and not variable.can_read(values[name]):
            detail = f"The value of the variable {name!r} is not of the type {variable.type}."
            raise InvalidVariables(f"{place}.{name}", detail)
