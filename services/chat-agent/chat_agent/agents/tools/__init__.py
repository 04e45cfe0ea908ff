"""The tools of agents, by category. A tool is one function; its docstring is what the model reads."""

from agents import FunctionTool

from chat_agent.agents.tools import calculator, clock, conversations, csv_analysis, web_search

TOOLS: dict[str, list[FunctionTool]] = {
    "time": clock.TOOLS,
    "memory": conversations.TOOLS,
    "math": calculator.TOOLS,
    "data": csv_analysis.TOOLS,
    "web": web_search.TOOLS,
}
