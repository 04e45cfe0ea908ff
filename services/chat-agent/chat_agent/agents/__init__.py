"""The agents that can be talked to. A new one is a file beside this, and a name in this table."""

from agents import Agent

from chat_agent.agents.code_assistant import code_assistant
from chat_agent.agents.data_analyst import data_analyst
from chat_agent.agents.research import research
from chat_agent.agents.tool import RunContext
from chat_agent.agents.triage import triage

AGENTS: dict[str, Agent[RunContext]] = {
    agent.name: agent for agent in (triage, code_assistant, data_analyst, research)
}
