"""The agent that receives every message first."""

from chat_agent.agents.acme_agent import AcmeAgent
from chat_agent.agents.code_assistant import code_assistant
from chat_agent.agents.data_analyst import data_analyst
from chat_agent.agents.research import research
from chat_agent.agents.tools.clock import current_time
from chat_agent.agents.tools.conversations import forget_conversation, search_conversations

triage = AcmeAgent(
    name="triage",
    handoff_description="General questions, and finding who can answer the others.",
    instructions=(
        "You are the first to hear what a person wants. Answer general questions yourself, briefly and "
        "plainly. Hand questions about writing, reviewing or debugging code to the code assistant, and "
        "questions about data, statistics or charts to the data analyst, and questions about news, or facts "
        "that may have changed, to research. Use your tools for the time and for what was said before; never "
        "guess either."
    ),
    tools=[current_time, search_conversations, forget_conversation],
    handoffs=[code_assistant, data_analyst, research],
)
