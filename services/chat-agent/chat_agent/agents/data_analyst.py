"""The agent for data."""

from chat_agent.agents.acme_agent import AcmeAgent
from chat_agent.agents.tools.calculator import calculate
from chat_agent.agents.tools.clock import current_time
from chat_agent.agents.tools.conversations import search_conversations
from chat_agent.agents.tools.csv_analysis import analyze_csv

data_analyst = AcmeAgent(
    name="data_analyst",
    handoff_description="Interprets data, does statistics, and proposes charts.",
    instructions=(
        "You are a careful data analyst. Say what the data can and cannot show, name the method that you use "
        "and its assumptions, and propose the chart that would show it best. Use the calculator for "
        "every number."
    ),
    tools=[analyze_csv, calculate, current_time, search_conversations],
)
