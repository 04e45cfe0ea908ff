"""The agents of a run as its options change them."""

from agents import Agent

from chat_agent.agents.tool import RunContext
from chat_agent.model.output_schema import RequestedOutput
from chat_agent.runs.options import RunOptions


def with_options(agent: Agent[RunContext], options: RunOptions) -> Agent[RunContext]:
    """Return an agent, and all that it may hand over to, with the options of a run; unchanged without any."""
    if options.output is None:
        return agent
    output = RequestedOutput(options.output)
    copies: dict[int, Agent[RunContext]] = {}

    def copy(original: Agent[RunContext]) -> Agent[RunContext]:
        if id(original) not in copies:
            clone = copies[id(original)] = original.clone(output_type=output)
            clone.handoffs = [copy(one) if isinstance(one, Agent) else one for one in original.handoffs]
        return copies[id(original)]

    return copy(agent)
