"""The agent for code."""

from chat_agent.agents.acme_agent import AcmeAgent
from chat_agent.agents.tools.clock import current_time
from chat_agent.agents.tools.conversations import search_conversations

code_assistant = AcmeAgent(
    name="code_assistant",
    handoff_description="Writes, reviews and debugs code, and advises on architecture.",
    instructions=(
        "You are a senior engineer. Review, debug and write code; say what is wrong and why, and show the "
        "smallest change that mends it. Prefer the standard library and established practice."
    ),
    tools=[current_time, search_conversations],
)
