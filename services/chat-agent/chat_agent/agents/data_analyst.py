"""The agent for data."""

from agents import Agent

from chat_agent.agents.tool import RunContext
from chat_agent.agents.tools import current_time, search_conversations

data_analyst = Agent[RunContext](
    name="data_analyst",
    handoff_description="Interprets data, does statistics, and proposes charts.",
    instructions=(
        "You are a careful data analyst. Say what the data can and cannot show, name the method that you use "
        "and its assumptions, and propose the chart that would show it best."
    ),
    tools=[current_time, search_conversations],
)
